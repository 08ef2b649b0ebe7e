"""Equal budgets for all priors: a number of steps, or seconds, converted to steps with short pilot runs."""

from dataclasses import dataclass
from typing import Literal, Self

from priorkit.errors import UsageError

__all__ = ["Budget", "longer_pilot", "steps_within"]

THIRD = 3.0
"""The budget over the seconds of a third pilot."""
WORTH_IT = 2
"""Least number of times as many steps as the second pilot for which a third is run."""
CLEAR = 0.25
"""Least part of the second pilot's time by which it is longer than the first, so that the time of a step is known."""
MANY = 10
"""Number of times as many steps as the second pilot if it is not."""


@dataclass(frozen=True)
class Budget:
    """The training budget of a prior."""

    kind: Literal["steps", "seconds"]
    amount: float

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the budget for 'steps:N' or 'seconds:S'."""
        kind, _, amount = text.partition(":")
        try:
            value = float(amount)
            if kind == "steps" and value.is_integer() and value >= 1:
                return cls("steps", value)
            if kind == "seconds" and 0 < value < float("inf"):
                return cls("seconds", value)
        except ValueError:
            pass
        raise UsageError(f"--budget {text}: expected steps:N or seconds:S, such as --budget steps:9000.")

    def __str__(self) -> str:
        return f"{self.kind}:{self.amount:g}"


def longer_pilot(seconds: float, pilots: tuple[tuple[int, float], tuple[int, float]]) -> int | None:
    """Return the steps of a third pilot: as many as take a third of the budget if the first two are right, or a multiple of
    the second's if the time before the first step hides that of the steps. None if the second pilot is long enough.
    """
    (_, fast), (many, slow) = pilots
    if slow - fast < CLEAR * slow:
        return MANY * many
    try:
        steps = steps_within(seconds / THIRD, pilots)
    except UsageError:
        return None
    return steps if steps >= WORTH_IT * many else None


def steps_within(seconds: float, pilots: tuple[tuple[int, float], tuple[int, float]]) -> int:
    """Return the steps that take the given seconds if n steps take a + b n, from the steps and seconds of the two pilots.

    Raises UsageError if the preparation, a, already takes longer.
    """
    (few, fast), (many, slow) = pilots
    step = (slow - fast) / (many - few)
    if step <= 0:  # too fast to separate steps from preparation: all the time is attributed to the steps
        step, before = slow / many, 0.0
    else:
        before = max(0.0, fast - step * few)
    if seconds <= before + step:
        raise UsageError(
            f"--budget seconds:{seconds:g}: a pilot run took {before:.1f} seconds before its first step "
            f"and {step:.3f} seconds per step, so there is no time for training. Use more seconds."
        )
    return int((seconds - before) / step)
