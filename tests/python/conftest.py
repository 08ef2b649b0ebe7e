"""A tiny finished run, trained once a session by the Python interface."""

import pytest

import priorkit

TINY = {
    "backbone": {"hidden": 32, "latents": [4, 6]},
    "prior": {"energy.width": 16, "pool_size": 300, "stages": 2},
    "sampler.steps": 5,
    "trainer": {"backbone_steps": 30, "prior_steps": 30, "posterior_samples": 1},
    "engine.threads": 1,
}


@pytest.fixture(scope="session")
def train(tmp_path_factory):
    """`priorkit.train` of the tiny run."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"

    def call(**changed):
        given = {"backbone": "twolayer", "prior": "multistage", "out": folder, "options": TINY, "samples": 60, "quiet": True}
        return priorkit.train(**{**given, **changed})

    return call


@pytest.fixture(scope="session")
def model(train):
    """The trained model."""
    return train()
