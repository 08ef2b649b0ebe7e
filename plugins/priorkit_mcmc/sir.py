r"""Sampling-importance-resampling: of M proposals from N(0, I) keep one, in proportion to :math:`p(u) / N(u; 0, I)`.

The proposals arrive in chunks and the choice is made while they do: the largest of log w + Gumbel noise has the law of
a categorical draw with weights w, and a maximum needs no memory of what it has seen.
"""

import torch
from pydantic import PositiveInt
from torch import Generator, Tensor

from priorkit.core import Chain, LogProb, Sampler, Settings
from priorkit_mcmc.chain_recorder import Record

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
        record = Record(start.detach(), keep_every)
        pick = _Pick(start)
        rest, at_once = self.settings.proposals, max(1, self.settings.chunk // max(1, len(start)))
        while rest > 0:
            pick.offer(log_prob, min(rest, at_once), generator)
            rest -= at_once
        finite = pick.finite / self.settings.proposals
        record.step(pick.u, effective_sample_size=pick.effective_sample_size, energy=pick.energy, finite=finite)
        return record.chain(pick.u, self.settings.proposals)


class _Pick:
    """The choice of one proposal for each row so far."""

    def __init__(self, start: Tensor) -> None:
        self.u = torch.zeros_like(start)
        self.energy, self.finite = start.new_zeros(len(start)), start.new_zeros(len(start))
        self._key, self._log_sum, self._log_sum_of_squares = (start.new_full((len(start),), -torch.inf) for _ in range(3))

    def offer(self, log_prob: LogProb, count: int, generator: Generator | None) -> None:
        """Weigh `count` new proposals for each row."""
        rows, dim = self.u.shape
        u = torch.empty(rows, count, dim, dtype=self.u.dtype, device=self.u.device).normal_(generator=generator)
        energy = log_prob(u.flatten(0, 1)).view(rows, count)
        weight = energy + u.square().sum(2) / 2
        usable = weight.isfinite()
        weight = weight.masked_fill(~usable, -torch.inf)
        gumbel = -torch.empty_like(weight).exponential_(generator=generator).log()
        key, index = (weight + gumbel).max(1)
        better = key > self._key
        every = torch.arange(rows, device=u.device)
        self.u = torch.where(better[:, None], u[every, index], self.u)
        self.energy = torch.where(better, energy[every, index], self.energy)
        self._key = torch.maximum(key, self._key)
        self.finite += usable.sum(1)
        self._log_sum = torch.logaddexp(self._log_sum, weight.logsumexp(1))
        self._log_sum_of_squares = torch.logaddexp(self._log_sum_of_squares, (2 * weight).logsumexp(1))

    @property
    def effective_sample_size(self) -> Tensor:
        """(B,); 0 where no proposal has a finite weight."""
        return (2 * self._log_sum - self._log_sum_of_squares).exp().nan_to_num(nan=0.0)
