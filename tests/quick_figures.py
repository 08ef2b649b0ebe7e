"""Figures of the whole runs that tests train: with fewer folds and samples, since they cost more than the training.

What the figures are is tested in tests/metrics, which calls the metrics themselves with the folds that they have.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

FOLDS = 3
"""Of the classifiers of `gap`: their trainings grow with the square; a third fold is the least that they need."""
SAMPLES = 400
"""Of each prior at the end of `priorkit train`."""


@contextmanager
def quick_figures() -> Iterator[None]:
    """While it lasts, a run in this process is measured with few folds, and one of the command `train` with few samples."""
    groups, evaluate = (importlib.import_module(f"priorkit.workflows.measuring.{name}") for name in ("groups", "evaluate"))
    evaluation = evaluate.Evaluation

    def with_few(groups=evaluate.AFTER_TRAINING, samples=SAMPLES):
        return evaluation(groups, samples)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups, "gap_auc", partial(groups.gap_auc, folds=FOLDS))
        patch.setattr(evaluate, "Evaluation", with_few)
        yield
