r"""Points of Markov chains with their log densities, and the corrected Langevin move that several chains make.

A move :math:`v \sim q(\cdot \mid u) = N(u + \frac{s}{2} \nabla \log p(u),\, s I)` is accepted with probability
:math:`\min(1, p(v) q(u \mid v) / p(u) q(v \mid u))`, which keeps p exactly stationary (Roberts & Tweedie 1996).
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from priorkit.mcmc.density import LogProb
from priorkit.mcmc.log_normal import log_normal
from priorkit.mcmc.tilted_normal import TiltedNormal

__all__ = ["State", "accept", "adjusted_langevin", "langevin_move", "ratio_and_gradient", "state_at", "value_and_gradient"]


@dataclass(frozen=True)
class State:
    """A point of each chain, with its log density."""

    u: Tensor
    """(B, D)."""
    value: Tensor
    """log p(u), (B,)."""
    gradient: Tensor
    """(B, D)."""


@torch.no_grad()
def value_and_gradient(log_prob: LogProb, u: Tensor) -> tuple[Tensor, Tensor]:
    """log p(u), (B,), and its gradient, (B, D), both detached.  Parameters inside log_prob receive no gradient."""
    if not isinstance(log_prob, TiltedNormal):
        return _differentiated(log_prob, u, constant=False)
    ratio, slope = ratio_and_gradient(log_prob, u)
    return ratio + log_normal(u), slope - u


@torch.no_grad()
def ratio_and_gradient(density: TiltedNormal, u: Tensor) -> tuple[Tensor, Tensor]:
    """log r(u), (B,), and its gradient, (B, D), both detached; a ratio may be constant, as that of the Gaussian prior is."""
    return _differentiated(density.log_ratio, u, constant=True)


def _differentiated(function: LogProb, u: Tensor, *, constant: bool) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False), torch.enable_grad():
        # A tensor made in inference mode cannot carry a gradient; its copy can.
        leaf = (u.clone() if u.is_inference() else u.detach()).requires_grad_()
        value = function(leaf)
        if constant and not value.requires_grad:
            return value, torch.zeros_like(leaf, requires_grad=False)
        (gradient,) = torch.autograd.grad(value.sum(), leaf, materialize_grads=constant)
    # A copy, since it may be a view of u, which chains move in place.
    return value.detach().clone(), gradient


def state_at(log_prob: LogProb, u: Tensor) -> State:
    """The state at u (B, D), which the caller leaves unchanged from now on."""
    return State(u, *value_and_gradient(log_prob, u))


def langevin_move(state: State, noise: Tensor, size: Tensor) -> Tensor:
    """u + s/2 grad log p(u) + sqrt(s) noise, (B, D), for a step size s ()."""
    return torch.addcmul(state.u, state.gradient, size / 2).addcmul_(noise, size.sqrt())


@torch.no_grad()
def adjusted_langevin(log_prob: LogProb, state: State, size: Tensor, generator: Generator | None) -> tuple[State, Tensor]:
    """The next state, and each row's acceptance probability, (B,)."""
    noise = torch.empty_like(state.u).normal_(generator=generator)
    proposal = state_at(log_prob, langevin_move(state, noise, size))
    back = (state.u - proposal.u).addcmul_(proposal.gradient, -size / 2)
    forth = noise.square().sum(1) / 2 - back.square().sum(1) / (2 * size)
    return accept(state, proposal, proposal.value - state.value + forth, generator)


def accept(state: State, proposal: State, log_ratio: Tensor, generator: Generator | None) -> tuple[State, Tensor]:
    """Each row's proposal with probability min(1, e^log_ratio), else its state, and those probabilities, (B,).

    A proposal of a log density that is not finite, or with no number as its ratio, is never accepted.
    """
    ratio = log_ratio.masked_fill(~proposal.value.isfinite(), -torch.inf)
    ratio = ratio.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    chance = torch.rand(len(ratio), generator=generator, dtype=ratio.dtype, device=ratio.device)
    taken = chance.log() < ratio
    rows = taken[:, None]
    following = State(
        torch.where(rows, proposal.u, state.u),
        torch.where(taken, proposal.value, state.value),
        torch.where(rows, proposal.gradient, state.gradient),
    )
    return following, ratio.exp().clamp(max=1)
