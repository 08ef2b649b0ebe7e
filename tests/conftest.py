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


@pytest.fixture(scope="session", autouse=True)
def one_thread_a_run():
    """A run that leaves the number of threads to priorkit has one, and so have the tests after it in this process.

    With two in each of two workers on two cores, tiny operations wait for threads that have no core.
    """
    import torch

    from priorkit.workflows.session import use_threads

    def use(threads):
        use_threads(threads)
        if threads is None:
            torch.set_num_threads(1)

    with pytest.MonkeyPatch.context() as patch:
        for module in ("session", "training.begin", "training.budget"):
            patch.setattr(f"priorkit.workflows.{module}.use_threads", use)
        yield


@pytest.fixture(scope="session")
def call():
    """Runs a command in this process; returns its result."""
    from priorkit.cli import app

    def run(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run
