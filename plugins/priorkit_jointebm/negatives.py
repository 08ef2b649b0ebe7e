"""The set of training chains: its states and step size are tensors that every checkpoint holds."""

import torch
from torch import Generator, Tensor

from priorkit.core import LogProb
from priorkit.errors import UsageError
from priorkit.mcmc import resample
from priorkit_jointebm.chain import Moved, run_chains
from priorkit_jointebm.settings import ChainSettings

__all__ = ["Negatives", "chains_of"]

LARGEST = 2**30
"""Bytes of persistent chains; they are in every checkpoint."""
PROPOSALS = 32
"""Draws of N(0, I) at one of which a new chain begins."""
GAIN = 0.1
"""How far log s moves for an acceptance that is off by 1."""


class Negatives:
    """Draws the negatives of each training step."""

    def __init__(self, settings: ChainSettings, start: Tensor) -> None:
        """`start` (chains, D) are draws of N(0, I); of none where every chain starts from noise."""
        self.settings = settings
        self.states = start
        self.log_size = start.new_tensor(settings.step_size).log()

    @torch.no_grad()
    def draw(self, n: int, log_prob: LogProb, generator: Generator, rows: slice = slice(None)) -> Moved:
        """n negatives by the next steps of persistent chains on log_prob, or as many as there are in the given rows.

        Changes `states`, in these rows alone, and `log_size` in place.
        """
        if self.settings.start == "noise":
            return self._run(log_prob, self._noise(n, generator), generator)
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
        """New chains (n, D): of PROPOSALS draws of N(0, I) each is one, chosen in proportion to r."""

        def log_weight(u: Tensor) -> Tensor:
            return log_prob(u.flatten(0, 1)).view(u.shape[:2]) + 0.5 * u.square().sum(2)

        return resample(log_weight, self.states[:n], PROPOSALS, chunk=n * PROPOSALS, generator=generator).u

    def _run(self, log_prob: LogProb, start: Tensor, generator: Generator) -> Moved:
        own = self.settings
        size = self.log_size.exp()
        moved = run_chains(log_prob, start, steps=own.steps, size=size, adjust=own.adjust, generator=generator)
        if own.adjust and own.target is not None:
            self.log_size += GAIN * (moved.acceptance - own.target)
        return moved

    def _noise(self, n: int, generator: Generator) -> Tensor:
        like = self.states
        return torch.randn(n, like.shape[1], generator=generator, dtype=like.dtype, device=like.device)


def chains_of(settings: ChainSettings, dim: int) -> int:
    """Persistent chains to keep; raises UsageError where they would be too many for a checkpoint."""
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
