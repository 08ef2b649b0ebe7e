"""Figures of the whole runs that tests train: with fewer folds and samples, and timed for less long, since they cost more
than the training.

What the figures are is tested in tests/metrics, which calls the metrics themselves with the folds that they have.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

FOLDS = 3
"""Of the classifiers of `gap`: their trainings grow with the square; a third fold is the least that they need."""
TIMED = 0.05
"""Seconds for which the drawing of samples is timed."""
SAMPLES = 400
"""Of each prior at the end of the command `train`, as the fixture `call` runs it."""


@contextmanager
def quick_figures() -> Iterator[None]:
    """While it lasts, a run in this process is measured with few folds, and its draws are timed shortly."""
    groups = importlib.import_module("priorkit.workflows.measuring.groups")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups, "gap_auc", partial(groups.gap_auc, folds=FOLDS))
        patch.setattr("priorkit.metrics.cost.LONG_ENOUGH", TIMED)
        yield
