r"""Sampling-importance-resampling of one layer for a batch of contexts.

Of N proposals from N(0, I) one is kept, in proportion to its weight.  Proposals come in chunks: the largest of
log weight + Gumbel noise has the law of a categorical draw with those weights, and a maximum needs no memory.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from priorkit.core import Chain, LogProb, Sampler, Settings, TiltedNormal

__all__ = ["Resampled", "Resampling", "resample"]

LogWeight = Callable[[Tensor], Tensor]
"""(B, N, *shape) -> (B, N)."""


@dataclass(frozen=True)
class Resampled:
    """One point for each row, and how its choice went, (B,) each."""

    u: Tensor
    """(B, *shape)."""
    log_weight: Tensor
    """Of the chosen points."""
    effective_sample_size: Tensor
    """(sum w)^2 / sum w^2 of the proposals; 0 where no weight is finite."""
    finite: Tensor
    """Share of the proposals with a finite log weight; the others are never chosen."""


def resample(
    log_weight: LogWeight, like: Tensor, proposals: int, *, chunk: int, generator: Generator | None = None
) -> Resampled:
    """A point for each row of `like` (B, *shape), which gives shape, type and device; at most `chunk` proposals at once."""
    rows = len(like)
    every = torch.arange(rows, device=like.device)
    chosen, chosen_weight = torch.zeros_like(like), like.new_zeros(rows)
    best, log_sum, log_squares = (like.new_full((rows,), -torch.inf) for _ in range(3))
    finite = like.new_zeros(rows)
    at_once = max(1, chunk // max(1, rows))
    for first in range(0, proposals, at_once):
        count = min(at_once, proposals - first)
        u = torch.empty(rows, count, *like.shape[1:], dtype=like.dtype, device=like.device).normal_(generator=generator)
        weight = log_weight(u)
        usable = weight.isfinite()
        weight = weight.masked_fill(~usable, -torch.inf)
        gumbel = -torch.empty_like(weight).exponential_(generator=generator).log()
        key, index = (weight + gumbel).max(1)
        better = key > best
        chosen = torch.where(better.view(rows, *[1] * (like.ndim - 1)), u[every, index], chosen)
        chosen_weight = torch.where(better, weight[every, index].to(like.dtype), chosen_weight)
        best = torch.maximum(best, key)
        log_sum = torch.logaddexp(log_sum, weight.logsumexp(1))
        log_squares = torch.logaddexp(log_squares, (2 * weight).logsumexp(1))
        finite += usable.sum(1)
    size = (2 * log_sum - log_squares).exp().nan_to_num(nan=0.0)
    return Resampled(chosen, chosen_weight, size, finite / proposals)


class Resampling(Sampler):
    """One of `proposals` draws of N(0, I) for each row, in proportion to the density's ratio to it."""

    def __init__(self, proposals: int, chunk: int) -> None:
        super().__init__(Settings())
        self._proposals, self._chunk = proposals, chunk

    def run(self, log_prob: LogProb, start: Tensor, *, generator: Generator | None = None, keep_every: int = 0) -> Chain:
        """A point for each row of start (B, d), which gives shape, type and device."""
        if not isinstance(log_prob, TiltedNormal):
            raise TypeError("Resampling: needs a density with a known ratio to N(0, I)")
        ratio = log_prob.log_ratio

        def log_weight(u: Tensor) -> Tensor:
            return ratio(u.flatten(0, 1)).view(u.shape[:2])

        with torch.no_grad():
            found = resample(log_weight, start, self._proposals, chunk=self._chunk, generator=generator)
        figures = {
            "effective_sample_size": found.effective_sample_size,
            "energy": found.log_weight - found.u.square().sum(1) / 2,
            "finite": found.finite,
        }
        diagnostics = {name: value.float().mean()[None] for name, value in figures.items()}
        return Chain(found.u, diagnostics, torch.stack([start, found.u]) if keep_every else None, self._proposals)
