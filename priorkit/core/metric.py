"""One measured number and what it means, and the functions that give such numbers by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["Metric", "MetricFunction"]


@dataclass(frozen=True)
class Metric:
    """A value, how far it may be off, and how it was measured."""

    value: float
    spread: float | None
    """In the units of `value`; the protocol says what it is (standard error, half an interval); None if not estimated."""
    protocol: str
    """Counts, split, preprocessing and estimator, so that two metrics can be told comparable or not."""
    resamples: tuple[float, ...] = field(default=(), repr=False, compare=False)
    """The value on resamples of what it is measured on, the same resample r for all runs of the same data, counts and seed,
    so that differences of two runs have an interval; empty if not known."""

    def as_dict(self) -> dict[str, float | str | None]:
        """The first three fields, as `evaluate --json` prints them."""
        return {"value": self.value, "spread": self.spread, "protocol": self.protocol}


class MetricFunction(Protocol):
    """What a plugin of kind `metric` is: it measures a run."""

    def __call__(self, model: Any, data: Any, *, samples: int, seed: int) -> Mapping[str, Metric]:
        """The metrics of one group by name: small letters, digits and underscores.

        Args:
            model: a `priorkit.model.Model`.
            data: the `priorkit.data.Dataset` that it is measured on.
            samples: how many samples of the prior are drawn.
            seed: seed of all that is random; the same seed gives the same figures.

        Raises:
            UsageError: where the group is not defined for this run; it is then left out, and the log says why.
        """
