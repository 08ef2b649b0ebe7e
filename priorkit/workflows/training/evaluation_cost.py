"""What the metrics and pictures at the end of a run will take, measured on few samples of a pilot run."""

import time
from pathlib import Path

from priorkit.data import Dataset
from priorkit.model import CHUNK
from priorkit.workflows.measuring.evaluate import Evaluation, measure
from priorkit.workflows.sampling.draws import Draws
from priorkit.workflows.sampling.gallery import run_pictures
from priorkit.workflows.session import Session, open_run

__all__ = ["evaluation_cost"]

PER_HELDOUT = ("reconstruction", "elbo")
"""Metrics whose time is proportional to the number of held-out data; that of others is to the number of samples."""
CONSTANT = ("logz", "nll")
"""Metrics whose time depends on neither."""


def evaluation_cost(pilot: Path, data: Dataset, few: Dataset, evaluation: Evaluation) -> tuple[float, float]:
    """Return the seconds of an evaluation on the data, from a finished pilot run and few of the data: all, and those that do
    not depend on the number of samples."""
    session, asked = open_run(pilot, data=few), evaluation.groups
    draws, chunks = Draws(session.model), evaluation.samples / CHUNK
    heldout = len(data.heldout) / max(1, len(few.heldout))
    fixed, sampled = heldout * _seconds(session, [name for name in asked if name in PER_HELDOUT], draws), 0.0
    if others := [name for name in asked if name not in PER_HELDOUT + CONSTANT]:
        # The first samples after a stage cost the choice of a step size too.
        fixed += _drawing(session, draws, 1)
        sampled += (chunks - 1) * _drawing(session, draws, 2) + chunks * _seconds(session, others, draws)
    fixed += _seconds(session, [name for name in asked if name in CONSTANT], draws)
    begun = time.monotonic()
    for _, figure in run_pictures(session, draws=draws):
        figure.clear()
    fixed += time.monotonic() - begun
    return fixed + sampled, fixed


def _seconds(session: Session, groups: list[str], draws: Draws) -> float:
    """Return the seconds of metrics of CHUNK samples."""
    begun = time.monotonic()
    if groups:
        measure(session.model, session.data, metrics=tuple(groups), samples=CHUNK, draws=draws)
    return time.monotonic() - begun


def _drawing(session: Session, draws: Draws, chunks: int) -> float:
    """Return the seconds until there are so many chunks of samples after every stage, with those that were drawn before."""
    begun = time.monotonic()
    for stages in range(1, session.model.prior.trained_stages + 1):
        draws.latents(chunks * CHUNK, stages)
    return time.monotonic() - begun
