"""A tiny finished run, trained once a session by the command itself."""

import pytest
from typer.testing import CliRunner

TINY = [
    "--backbone", "twolayer",
    "--set", "backbone.hidden=32", "--set", "backbone.latents=[4, 6]",
    "--set", "prior.energy.width=16", "--set", "prior.pool_size=300", "--set", "prior.stages=2",
    "--set", "prior.adaptive=false", "--set", "sampler.steps=5", "--set", "trainer.backbone_steps=60",
    "--set", "trainer.prior_steps=60", "--set", "trainer.posterior_samples=1", "--set", "engine.threads=1",
]  # fmt: skip


@pytest.fixture(scope="session")
def call():
    """Run a command in this process; gives its result."""
    from priorkit.cli import app

    def run(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture(scope="session")
def finished(call, tmp_path_factory):
    """The folder of the tiny run."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    result = call("train", *TINY, "--out", folder)
    assert result.exit_code == 0, result.output
    return folder
