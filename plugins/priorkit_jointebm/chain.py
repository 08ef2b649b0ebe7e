r"""The training chains: Langevin steps on the present density, with or without the Metropolis correction.

A sampler has a number of steps and a step size for a density that stands still.  Here the density moves with every
training step, and the step size has to follow it and to be saved.
"""

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from priorkit.core import LogProb, adjusted_langevin, langevin_move, state_at

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


@torch.no_grad()
def run_chains(
    log_prob: LogProb, start: Tensor, *, steps: int, size: Tensor, adjust: bool, generator: Generator | None = None
) -> Moved:
    """`steps` steps of size s () from start (B, D)."""
    state = state_at(log_prob, start.detach())
    accepted = []
    for step in range(steps):
        if adjust:
            state, chance = adjusted_langevin(log_prob, state, size, generator)
            accepted.append(chance.mean())
            continue
        move = langevin_move(state, torch.empty_like(start).normal_(generator=generator), size)
        # The last state's gradient would move nothing.
        state = state_at(log_prob, move) if step + 1 < steps else replace(state, u=move)
    acceptance = torch.stack(accepted).mean() if accepted else start.new_ones(())
    return Moved(state.u, acceptance, (state.u - start).square().mean().sqrt())
