r"""Chains on p(u_t | v), the conditional density of a level.

The run's sampler moves x with u_t = a v + sigma rho_t x: there the kernel and the Gaussian base are together
N(0, 1 / rho_t^2), whatever the level, and one step size suits all levels (see `priorkit_diffusion.step_sizes`).
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Generator, Tensor

from priorkit.core import Chain, Condition, Sampler, log_normal, run_conditioned
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
    """Of so many draws of each row's conditional density with F = 0 one, in proportion to e^F: (B, D).

    With many that is a sample of the conditional density itself; with a few it is in the right region.
    """
    rows = len(conditional.v)
    own = conditional.expanded(rows * proposals)
    u = own.state(torch.empty_like(own.v).normal_(generator=generator))
    if condition is not None and condition.top is not None:
        u[:, : condition.fixed] = condition.top.to(u).repeat_interleave(proposals, 0)
    if proposals == 1:
        return u
    weight = energy(u, own.level)
    # The largest of log weight + Gumbel noise is a draw in proportion to the weights.
    gumbel = -torch.empty_like(weight).exponential_(generator=generator).log()
    best = (weight + gumbel).view(rows, proposals).argmax(1)
    return u.view(rows, proposals, -1)[torch.arange(rows, device=u.device), best]


def sampled(
    energy: Energy,
    conditional: Conditional,
    pace: Tensor,
    sampler: Sampler,
    start: Tensor,
    *,
    condition: Condition | None = None,
    generator: Generator | None = None,
    keep_every: int = 0,
) -> Chain:
    """A chain of the sampler on each row's conditional density from u_t = start (B, D), with the paces (T,) of the levels.

    Its states are u_t; its figures are those of the sampler's own coordinates.
    """
    rho = pace.to(start)[conditional.level][:, None]
    begin = conditional.noise(start) / rho
    inside = None
    if condition is not None and condition.top is not None:
        inside = Condition(top=begin[:, : condition.fixed])

    def log_prob(x: Tensor) -> Tensor:
        own = conditional.expanded(len(x))
        w = x * pace.to(x)[own.level][:, None]
        return energy(own.state(w), own.level) + log_normal(w)

    chain = run_conditioned(sampler, log_prob, begin, inside, generator=generator, keep_every=keep_every)
    kept = chain.trajectory
    states = None if kept is None else torch.stack([conditional.state(x * rho) for x in kept])
    u = conditional.state(chain.u * rho)
    return replace(chain, u=u if condition is None else condition.fix(u), trajectory=states)
