"""The recipes of two-phase training: all of each is understood, and a small one of its kind takes two steps.

An NVAE of the published width is too large for a test, at 256x256 most of all.  So it is made narrow here, with two groups
a scale, and with it batches, energies and numbers of steps, chains and proposals; every choice of the method itself is the
recipe's.  The recipe as it stands is resolved, and its energies are built on a device without memory.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from priorkit_nvae.geometry import Geometry

from priorkit.config import resolve
from priorkit.core import DataSpec, Layout
from priorkit.core.backbone import LatentSpace
from priorkit.workflows.training.train import fit, from_run

RECIPES = Path(__file__).resolve().parents[2] / "examples" / "recipes"
ALL = {path.stem: (path, path.read_text(encoding="utf-8")) for path in sorted(RECIPES.glob("*.yaml"))}
FILES = {name: path for name, (path, text) in ALL.items() if "name: two-phase\n" in text and "diffusers" not in text}
"""Those on diffusers' networks are tested with these."""
SIDES = {"cifar10": 32, "lsun-church": 64, "zip:celeba-hq-256.zip": 256}
LAYERS = {"cifar10": 30, "lsun-church-64": 15, "celeba-hq-256": 36, "vaebm-cifar10": 30, "vaebm-celeba-hq-256": 20}
"""Groups of each preset, as its paper states them."""

NARROW = {
    "nvae": [
        "num_channels_enc=4", "num_channels_dec=4", "num_groups_per_scale=2", "min_groups_per_scale=1",
        "num_latent_per_group=2", "num_preprocess_cells=1", "num_postprocess_cells=1", "num_cell_per_cond_enc=1",
        "num_cell_per_cond_dec=1",
    ],
    "twolayer": ["hidden=8", "width=2", "latents=[3,4,5]"],
    "identity": [],
}  # fmt: skip
FEW = {
    "jointebm": ["energy.channels=4", "chain.steps=2"],
    "ncp": ["energy.channels=4", "proposals=4"],
    "multistage": ["energy.channels=4", "energy.width=8", "energy.blocks=1"],
    "diffusion": ["energy.channels=4", "energy.width=8"],
    "vdrme": ["energy.width=8", "generator.width=8"],
}
TRAINER = ["backbone_steps=2", "backbone_batch=2", "prior_batch=2", "validate_every=0"]


def small(config):
    """Overrides that make everything smaller and nothing different, with two steps of each phase."""
    stages = getattr(config.component("prior")[1], "stages", 1)
    return [
        *(f"backbone.{option}" for option in NARROW[config.backbone.name]),
        *(f"prior.{option}" for option in FEW[config.prior.name]),
        *(f"trainer.{option}" for option in TRAINER),
        f"trainer.prior_steps={2 * stages}",
        *(["sampler.steps=2"] if config.sampler.name == "langevin" else []),
        "engine.threads=1",
        "engine.log_every=1",
    ]


def made_up(config, folder):
    """The data, or random images in their place: three to learn from and one held out."""
    if config.data.name.startswith("toy:"):
        return []
    folder.mkdir()
    side = SIDES[config.data.name]
    values = np.random.default_rng(0).integers(0, 256, (4, side, side, 3), dtype=np.uint8)
    for i, value in enumerate(values):
        Image.fromarray(value).save(folder / f"{i}.png")
    return [f"data=folder:{folder}", "data.holdout=0.25"]


def layout_of(config):
    """The latents' shapes, from sizes alone: a network of the published width would take seconds to build."""
    settings = config.component("backbone")[1]
    if config.backbone.name == "twolayer":
        return Layout(tuple((size,) for size in settings.latents))
    side = SIDES[config.data.name]
    return Geometry.of(settings, DataSpec(config.data.name, (3, side, side), 256)).layout


@pytest.mark.parametrize("name", FILES)
def test_two_steps(tmp_path, name):
    config = resolve(FILES[name])
    overrides = [*made_up(config, tmp_path / "images"), *small(config)]
    if config.backbone.name == "nvae":
        # Room for one posterior sample and not for all, so that every step encodes anew, as at the published size.
        narrow = config.model_copy(update={"backbone": resolve(FILES[name], overrides).backbone})
        overrides += [f"trainer.bank={1.5 * 4 * 2 * layout_of(narrow).dim / 2**30}"]
    state = fit(resolve(FILES[name], overrides), tmp_path / "run")
    assert state is not None and state.skipped == 0
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    stages = getattr(config.component("prior")[1], "stages", 1)
    phases = [*(["backbone"] if SIDES.get(config.data.name) else []), *(f"prior.{i + 1}" for i in range(stages))]
    assert list(state.done) == phases
    assert {(line["phase"], line["step"]) for line in logged} >= {(phase, step) for phase in phases for step in (1, 2)}


@pytest.mark.parametrize("name", [name for name in FILES if name != "vdrme-checkerboard"])
def test_the_recipe_as_it_stands_fits_together(name):
    """Energies of the recipe's own width, one for each shape of a layer: those of equal layers are alike."""
    config = resolve(FILES[name], ["prior.context=none"] if name.startswith("ncp") else [])
    layout = layout_of(config)
    prior_class, settings = config.component("prior")
    if config.prior.name != "diffusion":  # its spectral norms take seconds even there
        with torch.device("meta"):
            prior = prior_class(settings, LatentSpace(Layout(tuple(dict.fromkeys(layout.shapes))), lambda u: u, None))
        assert sum(parameter.numel() for parameter in prior.parameters()) > 10_000
    if config.backbone.name == "twolayer":
        assert len(layout.shapes) == 3
        return
    assert len(layout.shapes) == LAYERS[config.backbone.options["preset"]]
    # Posterior samples of all images do not fit, so that every step encodes its own, as in the papers.
    assert config.component("trainer")[1].bank * 2**30 < 4 * layout.dim * 27_000


def test_a_recipe_goes_on_a_finished_backbone(tmp_path):
    name = "multistage-normal-cifar10"
    config = resolve(FILES[name])
    overrides = [*made_up(config, tmp_path / "images"), *small(config)]
    settings = resolve(FILES[name], [*overrides, "trainer.prior_steps=0"])
    fit(settings, tmp_path / "backbone")
    taken = resolve(FILES[name], from_run(tmp_path / "backbone", ["trainer.prior_steps=2"]))
    assert taken.backbone == settings.backbone
    assert taken.data == settings.data
    trainer = taken.component("trainer")[1]
    assert (trainer.backbone_steps, taken.prior) == (0, config.prior)


def named(page):
    """Recipes in code marks, and files in commands."""
    return {*re.findall(r"`[\w-]+`", page), *re.findall(r"[\w-]+\.yaml", page)}


def test_every_recipe_has_its_row():
    page = (RECIPES.parents[1] / "docs" / "recipes.md").read_text(encoding="utf-8")
    missing = [name for name in ALL if not {f"`{name}`", f"{name}.yaml"} & named(page)]
    assert not missing, f"docs/recipes.md has no row for {', '.join(missing)}"
