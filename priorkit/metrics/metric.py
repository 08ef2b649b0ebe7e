"""One measured number and what it means."""

from dataclasses import dataclass

__all__ = ["Metric"]


@dataclass(frozen=True)
class Metric:
    """A value, how far it may be off, and how it was measured."""

    value: float
    spread: float | None
    """In the units of `value`; the protocol says what it is (standard error, half an interval); None if not estimated."""
    protocol: str
    """Counts, split, preprocessing and estimator, so that two figures can be told comparable or not."""

    def as_dict(self) -> dict[str, float | str | None]:
        """The three fields, as `evaluate --json` prints them."""
        return {"value": self.value, "spread": self.spread, "protocol": self.protocol}
