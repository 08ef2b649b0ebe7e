"""The sampling task of one layer of a prior that is sampled from the top down."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from priorkit.core import Chain, Sampling, TiltedNormal
from priorkit.energies.layer_gaussian import LayerGaussian

__all__ = ["LayerTask", "placed"]


@dataclass(frozen=True)
class LayerTask:
    """One layer's conditional: a ratio to N(0, I) in the standard coordinates v of a Gaussian."""

    base: LayerGaussian | None
    density: TiltedNormal | None
    """The density of v; None for N(0, I)."""

    def run(self, start: Tensor, sampling: Sampling) -> Chain:
        """Return the end of a chain from v = start (n, size), or start itself if it is exact, mapped to u.

        Only the chain of the request is used: stages and condition are in the density.
        """
        keep = sampling.keep_every
        if self.density is None:
            chain = Chain(start, trajectory=torch.stack([start, start]) if keep else None)
        else:
            chain = sampling.sampler.run(self.density, start, generator=sampling.generator, keep_every=keep)
        kept = chain.trajectory
        states = None if kept is None else torch.stack([placed(self.base, state, len(start)) for state in kept])
        return replace(chain, u=placed(self.base, chain.u, len(start)), trajectory=states)


def placed(base: LayerGaussian | None, v: Tensor, contexts: int) -> Tensor:
    """Return u for standard coordinates v (k n, size), k adjacent rows for each of n contexts."""
    if base is None:
        return v
    if len(base.mean) in (1, len(v)):
        return base.place(v)
    return base.place(v.reshape(contexts, -1, v.shape[1]).transpose(0, 1)).transpose(0, 1).flatten(0, 1)
