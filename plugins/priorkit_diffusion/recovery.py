r"""Chains on p(u_t | v), the conditional density of a level.

The run's sampler moves x with u_t = a v + sigma rho_t x: there the product of the kernel and the Gaussian
base is N(0, 1 / rho_t^2) at every level, and one step size suits all levels (see `priorkit_diffusion.step_sizes`).
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Generator, Tensor

from priorkit.core import Chain, Condition, Sampling
from priorkit.mcmc import log_normal, resample
from priorkit_diffusion.conditional import Conditional

__all__ = ["Energy", "sampled", "started"]

Energy = Callable[[Tensor, Tensor], Tensor]
"""F of states u (B, D) at levels (B,): (B,)."""


@torch.no_grad()
def started(
    energy: Energy,
    conditional: Conditional,
    proposals: int,
    *,
    condition: Condition | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """Return one of several samples of each row's conditional density with F = 0, with probability proportional to e^F: (B,
    D).

    With many it is a sample of the conditional density itself; with few it is in the right region.
    """
    v, columns = conditional.v, 0 if condition is None else condition.fixed

    def propose(noise: Tensor) -> Tensor:
        own = conditional.expanded(len(v) * proposals)
        u = own.state(noise.flatten(0, 1))
        if condition is not None and condition.top is not None:
            u[:, :columns] = condition.top.to(u).repeat_interleave(proposals, 0)
        return u.view(noise.shape)

    def log_weight(u: Tensor) -> Tensor:
        own = conditional.expanded(len(v) * proposals)
        return energy(u.flatten(0, 1), own.level).view(u.shape[:2])

    if proposals == 1:
        return propose(torch.empty_like(v)[:, None].normal_(generator=generator))[:, 0]
    every = len(v) * proposals
    return resample(log_weight, v, proposals, chunk=every, generator=generator, propose=propose).u


def sampled(energy: Energy, conditional: Conditional, pace: Tensor, start: Tensor, sampling: Sampling) -> Chain:
    """Return a chain on each row's conditional density from u_t = start (B, D), with the paces (T,) of the levels.

    Its states are u_t; its diagnostics are those in the sampler's coordinates.
    """
    rho = pace.to(start)[conditional.level][:, None]
    begin = conditional.noise(start) / rho
    condition, inside = sampling.condition, None
    if condition is not None and condition.top is not None:
        inside = Condition(top=begin[:, : condition.fixed])

    def log_prob(x: Tensor) -> Tensor:
        own = conditional.expanded(len(x))
        w = x * pace.to(x)[own.level][:, None]
        return energy(own.state(w), own.level) + log_normal(w)

    chain = replace(sampling, condition=inside).run(log_prob, begin)
    kept = chain.trajectory
    states = None if kept is None else torch.stack([conditional.state(x * rho) for x in kept])
    u = conditional.state(chain.u * rho)
    return replace(chain, u=u if condition is None else condition.fix(u), trajectory=states)
