"""The form of every density here: N(0, I) tilted by a ratio."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from priorkit.mcmc.log_normal import log_normal

__all__ = ["TiltedNormal"]


@dataclass(frozen=True)
class TiltedNormal:
    """log r(u) - |u|^2 / 2 as a `LogProb` that tells its ratio, so that a sampler need not differentiate the Gaussian."""

    log_ratio: Callable[[Tensor], Tensor]
    """log r, (B, D) -> (B,)."""

    def __call__(self, u: Tensor) -> Tensor:
        """(B, D) -> (B,)."""
        return self.log_ratio(u) + log_normal(u)
