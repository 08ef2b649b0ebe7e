r"""Langevin chains: :math:`u \leftarrow u + \frac{s}{2} \nabla \log p(u) + \sqrt{s}\,\epsilon`, as they are or corrected.

Unadjusted, the chain is biased: on a Gaussian of precision :math:`\Lambda` its stationary covariance is
:math:`\Lambda^{-1} (I - s \Lambda / 4)^{-1}`, and it diverges for s beyond :math:`4 / \lambda_{max}`.  Adjusted, a move
:math:`v \sim q(\cdot \mid u) = N(u + \frac{s}{2} \nabla \log p(u),\, s I)` is accepted with probability
:math:`\min(1, p(v) q(u \mid v) / p(u) q(v \mid u))`, and p is exactly stationary (Roberts & Tweedie 1996).
"""

from functools import partial
from math import sqrt

import torch
from torch import Generator, Tensor

from priorkit.mcmc.chain_recorder import ChainRecorder, per_coordinate
from priorkit.mcmc.density import LogProb
from priorkit.mcmc.gradient import value_and_gradient
from priorkit.mcmc.metropolis import State, accept, metropolis_chain, state_at

__all__ = ["adjusted_langevin_chain", "adjusted_langevin_step", "langevin_chain", "langevin_move"]


def langevin_move(
    gradient: Tensor, size: float | Tensor, generator: Generator | None, *, out: Tensor | None = None
) -> Tensor:
    """Returns s/2 gradient + sqrt(s) noise, (B, D), for a step size s: a number, () or (B, 1).  `out` is overwritten."""
    noise = torch.empty_like(gradient) if out is None else out
    if isinstance(size, float):
        # Scaled as it is drawn: one walk over memory less.
        return noise.normal_(std=sqrt(size), generator=generator).add_(gradient, alpha=size / 2)
    return noise.normal_(generator=generator).mul_(size.sqrt()).addcmul_(gradient, size / 2)


@torch.no_grad()
def langevin_chain(
    log_prob: LogProb,
    start: Tensor,
    *,
    steps: int,
    size: float | Tensor,
    generator: Generator | None = None,
    record: ChainRecorder | None = None,
) -> Tensor:
    """Returns the end (B, D) of unadjusted chains from start (B, D), with one gradient per step.

    Args:
        log_prob: The density's logarithm up to a constant.
        start: Not changed.
        steps: Number of steps.
        size: s, a number, () or (B, 1).
        generator: Of the noise.
        record: Receives the diagnostics of each step.
    """
    u, noise = start.detach().clone(), torch.empty_like(start)
    for _ in range(steps):
        value, gradient = value_and_gradient(log_prob, u)
        # Before the move: the gradient may be a view of the memory of u.
        gradient_norm = None if record is None else torch.linalg.vector_norm(gradient, dim=1)
        u.add_(langevin_move(gradient, size, generator, out=noise))
        if record is not None and gradient_norm is not None:
            record.step(u, energy=value, gradient_norm=gradient_norm, displacement=per_coordinate(noise))
    return u


@torch.no_grad()
def adjusted_langevin_chain(
    log_prob: LogProb,
    start: Tensor,
    *,
    steps: int,
    size: Tensor,
    generator: Generator | None = None,
    record: ChainRecorder | None = None,
) -> tuple[Tensor, Tensor]:
    """Returns the end (B, D) of corrected chains from start (B, D) and their mean acceptance, a scalar tensor.

    Arguments as of `langevin_chain`, with a step size (); one gradient per step and one for the start.
    """
    step = partial(adjusted_langevin_step, log_prob, size=size, generator=generator)
    state, acceptance = metropolis_chain(step, state_at(log_prob, start.detach().clone()), steps, record)
    return state.u, acceptance


@torch.no_grad()
def adjusted_langevin_step(
    log_prob: LogProb, state: State, *, size: Tensor, generator: Generator | None
) -> tuple[State, Tensor]:
    """Returns the next state, and each row's acceptance probability, (B,)."""
    noise = torch.empty_like(state.u).normal_(generator=generator)
    move = torch.addcmul(state.u, state.gradient, size / 2).addcmul_(noise, size.sqrt())
    proposal = state_at(log_prob, move)
    back = (state.u - proposal.u).addcmul_(proposal.gradient, -size / 2)
    forth = noise.square().sum(1) / 2 - back.square().sum(1) / (2 * size)
    return accept(state, proposal, proposal.value - state.value + forth, generator)
