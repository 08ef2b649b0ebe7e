"""p(x | z), the distribution of the data given the latents."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Generator, Tensor

__all__ = ["Likelihood"]


class Likelihood(ABC):
    """A distribution over x of shape (B, *data shape); images are in [0, 1]."""

    discrete: bool
    """True if `log_prob` is the log of a probability, so that bits/dim are defined."""
    has_density: ClassVar[bool] = True
    """False if `log_prob` is not defined and raises UsageError."""
    protocol: str
    """A short description of `log_prob`: bins, units, cropping."""

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """The mean of x, (B, *data shape), images in [0, 1]."""

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x | z) in nats, summed over the data axes: (B, *data shape) -> (B,)."""

    @abstractmethod
    def sample(self, generator: Generator | None = None) -> Tensor:
        """Return one sample of x per row, (B, *data shape), images in [0, 1]."""
