"""The recipes with diffusers' models resolve, take two steps on made-up images with tiny models, and come back alone."""

import json
import shutil
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image
from priorkit_diffusers import AutoencoderKL, Pixels
from tiny_models import autoencoder, dit, unet

from priorkit.config import resolve
from priorkit.workflows.session import open_run
from priorkit.workflows.training.train import fit

RECIPES = Path(__file__).resolve().parents[2] / "examples" / "recipes"
SHORT = ["trainer.prior_steps=2", "trainer.prior_batch=4", "engine.threads=1", "data.holdout=0.2", "prior.scales=2"]


def archive(file, side, count=10):
    """Random images with labels."""
    values = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    with ZipFile(file, "w") as made:
        for i, value in enumerate(values):
            with made.open(f"{i}.png", "w") as stream:
                Image.fromarray(value).save(stream, format="PNG")
        made.writestr("dataset.json", json.dumps({"labels": [[f"{i}.png", i % 3] for i in range(count)]}))
    return file


def networks(folder):
    return [f"prior.{role}.options.{key}" for role in ("energy", "generator") for key in (f"folder={folder}", "width=8")]


def cifar10(models):
    unet(models / "unet", 3)
    return 8, networks(models)


def imagenet(models):
    autoencoder(models / "vae", channels=3, latents=4)
    dit(models / "transformer", channels=4, classes=1000)
    return 16, [f"backbone.folder={models}", *networks(models)]


@pytest.mark.parametrize(
    ("recipe", "prepare", "backbone"),
    [("vdrme-cifar10", cifar10, Pixels), ("vdrme-imagenet256", imagenet, AutoencoderKL)],
    ids=["cifar10", "imagenet256"],
)
def test_two_steps(tmp_path, recipe, prepare, backbone):
    file, models, run = RECIPES / f"{recipe}.yaml", tmp_path / "models", tmp_path / "run"
    assert resolve(file).prior.options["predicts"] == "noise"
    side, options = prepare(models)
    data = [f"data=zip:{archive(tmp_path / 'images.zip', side)}"]
    config = resolve(file, [*data, *options, *SHORT])
    assert config.prior.options["entropy_optimiser"]["betas"] == [0.3, 0.999]
    state = fit(config, run)
    assert state is not None and state.skipped == 0
    drawn = open_run(run).model.sample(2, seed=1)
    shutil.rmtree(models)
    session = open_run(run)
    assert isinstance(session.model.backbone, backbone)
    assert drawn.shape == (2, 3, side, side) and bool(torch.isfinite(drawn).all())
    # Weights lie elsewhere in memory the second time, and the order of sums with them.
    assert torch.allclose(session.model.sample(2, seed=1), drawn, atol=1e-4)
