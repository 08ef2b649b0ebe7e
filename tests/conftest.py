"""What all tests share."""

import os

# One thread for each test process and for the commands that it starts: with -n, more of them than cores wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings
from quick_figures import SAMPLES, quick_figures
from typer.testing import CliRunner

# Property-based tests run without a deadline: a busy machine is not a defect.
settings.register_profile("priorkit", deadline=None)
settings.load_profile("priorkit")


@pytest.fixture(scope="session", autouse=True)
def few_figures():
    """No test of a run needs figures as precise as a user's."""
    with quick_figures():
        yield


@pytest.fixture(scope="session")
def call():
    """Runs a command in this process; returns its result."""
    from priorkit.cli import app

    def run(*arguments):
        given = [str(argument) for argument in arguments]
        if given[:1] == ["train"] and "--resume" not in given:
            given[1:1] = ["--set", f"evaluation.samples={SAMPLES}"]
        return CliRunner().invoke(app, given)

    return run
