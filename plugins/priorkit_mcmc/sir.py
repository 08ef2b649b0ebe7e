r"""Sampling-importance-resampling: of M proposals from N(0, I) keep one, in proportion to :math:`p(u) / N(u; 0, I)`."""

import torch
from pydantic import PositiveInt
from torch import Generator, Tensor

from priorkit.core import Chain, LogProb, Sampler, Settings
from priorkit.mcmc import resample

__all__ = ["Sir", "SirSettings"]


class SirSettings(Settings):
    """Sampling-importance-resampling."""

    proposals: PositiveInt = 500
    """Proposals from N(0, I) for each sample."""
    chunk: PositiveInt = 16384
    """Proposals evaluated at once over the whole batch; memory grows with it (at least one for each sample)."""


class Sir(Sampler):
    """Sampling-importance-resampling; the start gives only shape, type and device.

    Diagnostics (one entry): `effective_sample_size` (sum w)^2 / sum w^2 of a sample's proposals, `energy` of the chosen
    points, `finite` the share of proposals with a finite log density; the others have weight 0.
    """

    Config = SirSettings
    settings: SirSettings

    def __init__(self, settings: SirSettings) -> None:
        self.settings = settings

    @torch.no_grad()
    def run(self, log_prob: LogProb, start: Tensor, *, generator: Generator | None = None, keep_every: int = 0) -> Chain:
        """Draw a sample for each row of start (B, D)."""
        own = self.settings

        def log_weight(u: Tensor) -> Tensor:
            return log_prob(u.flatten(0, 1)).view(u.shape[:2]) + u.square().sum(2) / 2

        found = resample(log_weight, start, own.proposals, chunk=own.chunk, generator=generator)
        return found.chain(start, keep_every)
