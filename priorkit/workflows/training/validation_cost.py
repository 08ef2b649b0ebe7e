"""What the held-out evaluations during training take, measured after a pilot run's phases."""

import time
from collections.abc import Mapping

from priorkit.core import Phase, frozen
from priorkit.engine import Watch

__all__ = ["SelectionTime", "validation_cost"]


class SelectionTime(Watch):
    """Times the held-out loss that selects weights, as each phase of a pilot run ends."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def ended(self, phase: Phase) -> None:
        """Time one more evaluation."""
        if phase.selection:
            begun = time.monotonic()
            phase.selection.loss()
            self.seconds[phase.name] = time.monotonic() - begun


def validation_cost(phase: Phase, longer: Phase, selection: Mapping[str, float]) -> tuple[float, float]:
    """Return the seconds per training step and the other seconds of a phase for its held-out evaluations.

    `phase` is that of the whole run with all held-out data, `longer` the same phase with more steps; `selection` has the
    seconds of a loss that selects weights. A pilot run has computed that loss once, which is not counted again. If the
    interval grows with the phase, the number of evaluations is constant.
    """
    per_step = other = 0.0
    if phase.validate and 0 < phase.validate_every <= phase.steps:
        begun = time.monotonic()
        with frozen(phase.learners):
            phase.validate()
        per_step += (time.monotonic() - begun) / phase.validate_every
    if phase.selection and longer.selection and phase.steps:
        each, every = selection.get(phase.name, 0.0), phase.selection.every
        if longer.selection.every == every:
            per_step += each / every
        else:
            other += each * (-(-phase.steps // every) - 1)
    return per_step, other
