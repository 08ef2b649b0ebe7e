"""What all tests share."""

import os

# One thread for each test process and for the commands that it starts: with -n, more of them than cores wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings
from quick_figures import quick_figures
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
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run
