"""Figures of the whole runs that tests train: with fewer folds and samples, since they cost more than the training.

What the figures are is tested in tests/metrics, which calls the metrics themselves with the folds that they have.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest

FOLDS = 3
"""Of the classifiers of `gap`: their trainings grow with the square; a third fold is the least that they need."""
SAMPLES = 400
"""Of each prior at the end of `priorkit train`."""


@contextmanager
def quick_figures() -> Iterator[None]:
    """While it lasts, a run in this process is measured with few folds, and with few samples unless it asks for a number."""
    groups, evaluate = (importlib.import_module(f"priorkit.workflows.measuring.{name}") for name in ("groups", "evaluate"))
    whole, usual = evaluate.Evaluation.of, evaluate.Evaluation().samples

    def with_few(config):
        found = whole(config)
        return replace(found, samples=SAMPLES) if found.samples == usual else found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups, "gap_auc", partial(groups.gap_auc, folds=FOLDS))
        # On the class, so that modules that have imported it see the change too.
        patch.setattr(evaluate.Evaluation, "of", staticmethod(with_few))
        yield
