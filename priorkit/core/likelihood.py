"""p(x | z), the distribution that a decoder gives over the data."""

from abc import ABC, abstractmethod

from torch import Generator, Tensor

__all__ = ["Likelihood"]


class Likelihood(ABC):
    """A distribution over x of shape (B, *data shape); images are in [0, 1]."""

    discrete: bool
    """True where `log_prob` is the log of a probability, so that bits/dim means something."""
    protocol: str
    """What a figure computed from `log_prob` is, in a few words: bins, units, cropping."""

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """The mean of x, (B, *data shape), images in [0, 1]."""

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x | z) in nats, summed over the data's axes: (B, *data shape) -> (B,)."""

    @abstractmethod
    def sample(self, generator: Generator | None = None) -> Tensor:
        """One draw of x, (B, *data shape), images in [0, 1]."""
