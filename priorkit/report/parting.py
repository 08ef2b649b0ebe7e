"""When the held-out loss of a stage parts from its training loss, and whether it still falls."""

from collections.abc import Mapping, Sequence
from typing import Any

from priorkit.report.order import last_number

__all__ = ["heldout_losses", "partings"]

HELD = "heldout_validation_loss"
RISE = 0.02
"""Smallest rise of the held-out loss after its minimum that is reported, as a fraction of its fall before."""
APART = 0.1
"""Distance of the two losses beyond which they count as apart, as a fraction of the fall of the training loss."""


def heldout_losses(records: Sequence[Mapping[str, Any]], stage: str) -> dict[int, float]:
    """Return the held-out loss of a stage by step."""
    return {row["step"]: row[HELD] for row in records if row["phase"] == stage and HELD in row}


def partings(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence per stage whose held-out loss was computed at least three times."""
    stages = sorted({str(row["phase"]) for row in records if HELD in row}, key=last_number)
    told = []
    for stage in stages:
        held = heldout_losses(records, stage)
        training = {row["step"]: row["loss"] for row in records if row["phase"] == stage and "loss" in row}
        if len(held) > 2:
            told.append(f"{stage}: {_parting(held, training)}{_course(held)}.")
    return told


def _parting(held: Mapping[int, float], training: Mapping[int, float]) -> str:
    """Return from which step on the held-out loss is above the training loss, as the begin of a sentence; without that
    if it is not, or if their scales differ, so that it was far from the training loss at once."""
    alone = "the held-out loss "
    if len(training) < 2:
        return alone
    fall = max(training.values()) - min(training.values())
    gaps = {step: loss - training[min(training, key=lambda other: abs(other - step))] for step, loss in held.items()}
    first = min(gaps)
    if fall <= 0 or abs(gaps[first]) > fall:
        return alone
    apart = None
    for step in sorted(gaps, reverse=True):
        if gaps[step] < APART * fall:
            break
        apart = step
    return alone if apart is None else f"the held-out loss parts from the training loss at step {apart}; it "


def _course(held: Mapping[int, float]) -> str:
    """Return whether the held-out loss falls to the end, is level or rises."""
    best, last = min(held, key=held.__getitem__), max(held)
    fall, rise = held[min(held)] - held[best], held[last] - held[best]
    if rise > RISE * fall:
        return f"rises after step {best} of {last}: later steps fit the training points only"
    if best == last:
        return f"falls to the end, step {last}: more steps may help"
    return f"is lowest at step {best} of {last} and level after it"
