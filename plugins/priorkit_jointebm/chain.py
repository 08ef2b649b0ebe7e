r"""The training chains: Langevin steps on the current density, with or without the Metropolis correction.

A sampler has a number of steps and a step size for a fixed density. Here the density changes with every training step, and
the step size has to follow it and to be saved.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from priorkit.core import LogProb
from priorkit.mcmc import adjusted_langevin_chain, langevin_chain

__all__ = ["Moved", "run_chains"]


@dataclass(frozen=True)
class Moved:
    """Chains after some steps."""

    u: Tensor
    """(B, D), detached."""
    acceptance: Tensor
    """Mean acceptance probability, (); 1 without the correction."""
    displacement: Tensor
    """Root mean square over chains and coordinates of the distance from start to end, ()."""


@torch.no_grad()
def run_chains(
    log_prob: LogProb, start: Tensor, *, steps: int, size: Tensor, adjust: bool, generator: Generator | None = None
) -> Moved:
    """Return the chains after `steps` steps of size s () from start (B, D)."""
    if adjust:
        u, acceptance = adjusted_langevin_chain(log_prob, start, steps=steps, size=size, generator=generator)
    else:
        u, acceptance = langevin_chain(log_prob, start, steps=steps, size=size, generator=generator), start.new_ones(())
    return Moved(u, acceptance, (u - start).square().mean().sqrt())
