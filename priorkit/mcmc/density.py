"""The type of a target: a log density that Markov kernels evaluate."""

from collections.abc import Callable

from torch import Tensor

__all__ = ["LogProb"]

LogProb = Callable[[Tensor], Tensor]
"""(B, D) -> (B,), an unnormalised log density, each row depending on its own row alone.  A sampler that weighs several
points for each of its n chains gives k n rows, those of a chain together: what is asked of a chain is asked of each."""
