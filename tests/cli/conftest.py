"""A tiny finished run, trained once a session by the command itself."""

import pytest
from tiny_run import TINY


@pytest.fixture(scope="session")
def finished(call, tmp_path_factory):
    """The folder of the tiny run."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    result = call("train", *TINY, "--out", folder)
    assert result.exit_code == 0, result.output
    return folder
