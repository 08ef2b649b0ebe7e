"""The output of a decoder that has no density p(x | z)."""

from typing import ClassVar

from torch import Generator, Tensor

from priorkit.core import Likelihood
from priorkit.errors import UsageError

__all__ = ["WithoutDensity"]


class WithoutDensity(Likelihood):
    """A decoder's output, with which bounds on the likelihood are not defined. A subclass says why not."""

    discrete = False
    has_density = False
    protocol = "no density"
    reason: ClassVar[str] = "log p(x | z) is not defined for this backbone."
    """The message of the error."""

    def __init__(self, mean: Tensor) -> None:
        self._mean = mean

    @property
    def mean(self) -> Tensor:
        """The output, (B, *data shape)."""
        return self._mean

    def sample(self, generator: Generator | None = None) -> Tensor:
        """Return the output, (B, *data shape)."""
        return self._mean

    def log_prob(self, x: Tensor) -> Tensor:
        """Raises UsageError."""
        raise UsageError(self.reason)
