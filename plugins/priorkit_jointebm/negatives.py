"""The training chains: their states and step size are tensors in every checkpoint."""

import torch
from torch import Generator, Tensor

from priorkit.core import LogProb, TiltedNormal
from priorkit.errors import UsageError
from priorkit.mcmc import proposals_for, resample
from priorkit_jointebm.chain import Moved, run_chains
from priorkit_jointebm.settings import ChainSettings

__all__ = ["Negatives", "chains_of"]

LARGEST = 2**30
"""Largest size in bytes of the persistent chains; they are in every checkpoint."""
PROPOSALS = 32
"""Number of samples of the base from which the start of a new chain is selected."""
GAIN = 0.1
"""Change of log s per difference between acceptance and target."""


class Negatives:
    """Draws the negatives of each training step."""

    def __init__(self, settings: ChainSettings, start: Tensor) -> None:
        """`start` (chains, D) are samples of the base, none if every chain starts from one."""
        self.settings = settings
        self.states = start
        self.log_size = start.new_full((), settings.step_size).log()

    @torch.no_grad()
    def draw(self, n: int, log_prob: LogProb, generator: Generator, rows: slice = slice(None)) -> Moved:
        """Return n negatives from the next steps of persistent chains on log_prob, or as many as there are given rows.

        Changes `states`, only in these rows, and `log_size` in place.
        """
        if self.settings.start == "noise":
            return self._run(log_prob, self._fresh(n, log_prob, generator), generator)
        states = self.states[rows]
        order = torch.randperm(len(states), generator=generator, device=states.device)[:n]
        start = states[order]
        fresh = round(self.settings.refresh * len(order))
        if fresh:
            start[:fresh] = self._resampled(fresh, log_prob, generator)
        moved = self._run(log_prob, start, generator)
        states[order] = moved.u
        return moved

    def _resampled(self, n: int, log_prob: LogProb, generator: Generator) -> Tensor:
        """Return new chains (n, D), each one of PROPOSALS samples of the base, selected with probability proportional to
        the ratio to it."""
        log_weight, propose = proposals_for(log_prob, generator)
        like, chunk = self.states[:n], n * PROPOSALS
        return resample(log_weight, like, PROPOSALS, chunk=chunk, generator=generator, propose=propose).u

    def _run(self, log_prob: LogProb, start: Tensor, generator: Generator) -> Moved:
        own = self.settings
        size = self.log_size.exp()
        moved = run_chains(log_prob, start, steps=own.steps, size=size, adjust=own.adjust, generator=generator)
        if own.adjust and own.target is not None:
            self.log_size += GAIN * (moved.acceptance - own.target)
        return moved

    def _fresh(self, n: int, log_prob: LogProb, generator: Generator) -> Tensor:
        """Return n samples of the base, (n, D)."""
        like = self.states
        if isinstance(log_prob, TiltedNormal) and log_prob.base is not None:
            return log_prob.base.draw(n, generator)
        return torch.randn(n, like.shape[1], generator=generator, dtype=like.dtype, device=like.device)


def chains_of(settings: ChainSettings, dim: int) -> int:
    """Return the number of persistent chains. Raises UsageError if they are too many for a checkpoint."""
    if settings.start == "noise":
        return 0
    if settings.chains * dim * 4 > LARGEST:
        raise UsageError(
            f"prior.chain.chains: {settings.chains} chains of {dim} latents would take "
            f"{settings.chains * dim * 4 / 2**30:.1f} GiB in every checkpoint. Use --set "
            f"prior.chain.chains={max(1, LARGEST // (4 * dim))} or less, or --set "
            "prior.chain.start=noise, which needs no persistent chains."
        )
    return settings.chains
