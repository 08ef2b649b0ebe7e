"""What the length of a run depends on: declared by a component's options, used to plan a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Planned"]


@dataclass(frozen=True)
class Planned:
    """Names of options, for `priorkit train --minutes` and the estimate of a run's time."""

    steps: tuple[str, ...] = ()
    """Of a trainer: numbers of training steps. The first trains the backbone, if there are several."""
    work: tuple[str, ...] = ()
    """Numbers of samples that are computed once per phase; a pilot run uses fewer."""
    pilot: Mapping[str, Any] = field(default_factory=dict)
    """Values for a pilot run of few steps, such as False for an option that would end it early. Held-out
    evaluations are timed apart."""
