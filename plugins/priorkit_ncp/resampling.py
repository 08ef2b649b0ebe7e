r"""Sampling-importance-resampling of one layer for a batch of contexts.

Of N proposals from N(0, I) one is kept, in proportion to its weight.  Proposals come in chunks: the largest of
log weight + Gumbel noise has the law of a categorical draw with those weights, and a maximum needs no memory.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

__all__ = ["Resampled", "resample"]

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
