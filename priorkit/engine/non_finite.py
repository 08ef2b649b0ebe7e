"""Describes a step whose loss or gradient was not finite."""

from math import isfinite

from torch import Tensor

from priorkit.engine.metric_accumulator import named
from priorkit.engine.process_context import ProcessContext

__all__ = ["not_finite"]


def not_finite(figures: dict[str, Tensor], process: ProcessContext) -> str:
    """Return the metrics of a rejected step, called on all processes: those of a process with a non-finite value."""
    rows = {key: process.all_gather(value) for key, value in sorted(figures.items())}
    of = [named({key: row[rank] for key, row in rows.items()}) for rank in range(process.world)]
    rank = next((rank for rank, own in enumerate(of) if not all(map(isfinite, own.values()))), None)
    shown = ", ".join(f"{key} {value:.3g}" for key, value in of[rank or 0].items())
    if rank is None:
        return f"the gradient; {shown}"
    return shown if process.world == 1 else f"{shown} in process {rank} of {process.world}, counted from 0"
