r"""Sampling-importance-resampling: of M proposals from N(0, I) keep one, in proportion to :math:`p(u) / N(u; 0, I)`.

For a density that has a base other than N(0, I), proposals and weights are those of the base.
"""

import torch
from pydantic import PositiveInt
from torch import Generator, Tensor

from priorkit.core import Chain, LogProb, Sampler, Settings, TiltedNormal
from priorkit.mcmc import proposals_for, resample

__all__ = ["Sir", "SirSettings"]


class SirSettings(Settings):
    """Sampling-importance-resampling."""

    proposals: PositiveInt = 500
    """Proposals from N(0, I), or from the prior's base (`prior.base_prior`), for each sample."""
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
        own, base = self.settings, log_prob.base if isinstance(log_prob, TiltedNormal) else None
        log_weight, propose = proposals_for(log_prob, generator)
        found = resample(log_weight, start, own.proposals, chunk=own.chunk, generator=generator, propose=propose)
        return found.chain(start, keep_every, log_base=None if base is None else base.log_ratio)
