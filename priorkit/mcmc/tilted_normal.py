"""The form of every density here: N(0, I) tilted by a ratio."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Generator, Tensor

from priorkit.mcmc.density import LogProb
from priorkit.mcmc.log_normal import log_normal

__all__ = ["BaseDensity", "TiltedNormal"]


@dataclass(frozen=True)
class BaseDensity:
    """A normalised density b, near a `TiltedNormal`, from which exact draws are cheap."""

    log_ratio: LogProb
    """log b(u) - log N(u; 0, I), (B, D) -> (B,)."""
    draw: Callable[[int, Generator | None], Tensor]
    """Exact draws, (n, D); for the conditionals of several chains n is a multiple of their number, and the rows of a chain
    stand together."""


@dataclass(frozen=True)
class TiltedNormal:
    """log r(u) - |u|^2 / 2 as a `LogProb` that tells its ratio, so that a sampler need not differentiate the Gaussian."""

    log_ratio: Callable[[Tensor], Tensor]
    """log r, (B, D) -> (B,)."""
    base: BaseDensity | None = None
    """What the density is nearest to, for proposals and starts; None: N(0, I)."""

    def __call__(self, u: Tensor) -> Tensor:
        """(B, D) -> (B,)."""
        return self.log_ratio(u) + log_normal(u)
