r"""The training chains: Langevin steps on the present density, with or without the Metropolis correction.

One step is :math:`u \leftarrow u + \frac{s}{2} \nabla \log p(u) + \sqrt{s}\,\epsilon`; corrected, it is taken with
probability :math:`\min(1, p(v) q(u \mid v) / p(u) q(v \mid u))`, q being that move, and p is exactly stationary.
A sampler has a number of steps and a step size for a density that stands still.  Here the density moves with every
training step, and the step size has to follow it and to be saved.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from priorkit.core import LogProb

__all__ = ["Moved", "run_chains"]


@dataclass(frozen=True)
class Moved:
    """Chains after some steps."""

    u: Tensor
    """(B, D), detached."""
    acceptance: Tensor
    """Mean acceptance probability, (); 1 without the correction."""
    displacement: Tensor
    """Root mean square over chains and coordinates of the way from start to end, ()."""


@dataclass(frozen=True)
class _State:
    u: Tensor
    value: Tensor
    gradient: Tensor


@torch.no_grad()
def run_chains(
    log_prob: LogProb, start: Tensor, *, steps: int, size: Tensor, adjust: bool, generator: Generator | None = None
) -> Moved:
    """`steps` steps of size s () from start (B, D)."""
    state = _at(log_prob, start)
    accepted = []
    for step in range(steps):
        noise = torch.empty_like(start).normal_(generator=generator)
        move = torch.addcmul(state.u, state.gradient, size / 2).addcmul_(noise, size.sqrt())
        if not adjust:
            # The last state's gradient would move nothing.
            state = _at(log_prob, move) if step + 1 < steps else _State(move, state.value, state.gradient)
            continue
        proposal = _at(log_prob, move)
        log_chance = _log_acceptance(state, proposal, noise, size)
        accepted.append(log_chance.exp().mean())
        draw = torch.rand(len(move), generator=generator, dtype=move.dtype, device=move.device)
        state = _choose(draw.log() < log_chance, proposal, state)
    acceptance = torch.stack(accepted).mean() if accepted else start.new_ones(())
    return Moved(state.u, acceptance, (state.u - start).square().mean().sqrt())


def _at(log_prob: LogProb, u: Tensor) -> _State:
    """log p and its gradient at u (B, D), all detached."""
    with torch.enable_grad():
        leaf = u.detach().requires_grad_()
        value = log_prob(leaf)
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return _State(leaf.detach(), value.detach(), gradient)


def _log_acceptance(state: _State, proposal: _State, noise: Tensor, size: Tensor) -> Tensor:
    """log of the acceptance probability, (B,); -inf for a proposal that is not finite."""
    back = (state.u - proposal.u).addcmul_(proposal.gradient, -size / 2)
    ratio = proposal.value - state.value + noise.square().sum(1) / 2 - back.square().sum(1) / (2 * size)
    return ratio.clamp(max=0).nan_to_num(nan=-torch.inf, neginf=-torch.inf)


def _choose(accept: Tensor, proposal: _State, state: _State) -> _State:
    rows = accept[:, None]
    return _State(
        torch.where(rows, proposal.u, state.u),
        torch.where(accept, proposal.value, state.value),
        torch.where(rows, proposal.gradient, state.gradient),
    )
