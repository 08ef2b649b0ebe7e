"""A tiny finished run, trained once a session by the command itself."""

import pytest
from tiny_run import TINY
from typer.testing import CliRunner


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
