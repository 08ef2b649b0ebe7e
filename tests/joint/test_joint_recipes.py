"""The recipes of joint training resolve, and take two steps on made-up images of the right size."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from priorkit.config import resolve
from priorkit.workflows.training.train import fit

RECIPES = Path(__file__).resolve().parents[2] / "examples" / "recipes"
JOINT = [path for path in sorted(RECIPES.glob("*.yaml")) if "name: joint\n" in path.read_text()]
SIDES = {"svhn": (32, 3), "cifar10": (32, 3), "celeba": (64, 3), "fashion-mnist": (28, 1), "digits": None}
SHORT = [
    "trainer.batch=2",
    "trainer.chain.steps=1",
    "sampler.steps=1",
    "trainer.stage_samples=2",
    "trainer.validate_every=0",
]
OF_PRIOR = {
    "jointebm": ["prior.chain.steps=1", "prior.chain.chains=4", "trainer.joint_steps=2"],
    "multistage": ["prior.stages=2", "prior.pool_size=2", "trainer.joint_steps=2"],
    "gaussian": ["trainer.joint_steps=2"],
}


def pictures(folder, side, channels):
    """A folder of random images."""
    folder.mkdir()
    values = np.random.default_rng(0).integers(0, 256, (6, side, side, channels), dtype=np.uint8)
    for i, value in enumerate(values):
        Image.fromarray(value.squeeze()).save(folder / f"{i}.png")
    return folder


@pytest.mark.parametrize("recipe", JOINT, ids=lambda path: path.stem)
def test_two_steps(tmp_path, recipe):
    config = resolve(recipe)
    size = SIDES[config.data.name]
    data = [] if size is None else [f"data=folder:{pictures(tmp_path / 'images', *size)}", "data.holdout=0.3"]
    tuned = [] if config.sampler.name == "langevin" else ["sampler.pilot_steps=1"]
    steps = ["trainer.backbone_steps=0", "engine.threads=1", *tuned]
    state = fit(resolve(recipe, [*data, *SHORT, *OF_PRIOR[config.prior.name], *steps]), tmp_path / "run")
    assert state is not None
    assert state.skipped == 0
