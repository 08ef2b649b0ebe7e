r"""Sampling-importance-resampling: of N proposals one is kept, in proportion to its weight.

Proposals come in chunks, and the choice is made while they do: the largest of log weight + Gumbel noise has the law of a
categorical draw with those weights, and a maximum needs no memory of what it has seen.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from priorkit.mcmc.chain import Chain
from priorkit.mcmc.chain_recorder import ChainRecorder
from priorkit.mcmc.density import LogProb
from priorkit.mcmc.tilted_normal import TiltedNormal

__all__ = ["Propose", "Resampled", "proposals_for", "resample"]

LogWeight = Callable[[Tensor], Tensor]
"""Proposals (B, N, *shape) -> their log weights, (B, N)."""
Propose = Callable[[Tensor], Tensor]
"""N(0, I) noise (B, N, *shape) -> proposals of the same shape."""


@dataclass(frozen=True)
class Resampled:
    """One point for each row, and how its choice went."""

    u: Tensor
    """(B, *shape); the row of `like` where no proposal has a finite weight."""
    log_weight: Tensor
    """Of the chosen points, (B,)."""
    effective_sample_size: Tensor
    """(sum w)^2 / sum w^2 of the proposals, (B,); 0 where no weight is finite."""
    finite: Tensor
    """Share of the proposals with a finite log weight, (B,); the others are never chosen."""
    proposals: int

    def chain(self, start: Tensor, keep_every: int = 0, *, log_base: LogProb | None = None) -> Chain:
        """Returns the choice as a chain of one step from start (B, D), for proposals from N(0, I), or from a density whose
        log ratio to it is `log_base`."""
        record = ChainRecorder(start, keep_every)
        energy = self.log_weight - self.u.square().sum(1) / 2
        energy = energy if log_base is None else energy + log_base(self.u)
        record.note(self.u, effective_sample_size=self.effective_sample_size, energy=energy, finite=self.finite)
        return record.chain(self.u, self.proposals)


@torch.no_grad()
def resample(
    log_weight: LogWeight,
    like: Tensor,
    proposals: int,
    *,
    chunk: int,
    generator: Generator | None = None,
    propose: Propose | None = None,
    keep: Tensor | None = None,
) -> Resampled:
    """Returns one of `proposals` points for each row of `like` (B, *shape), in proportion to its weight.

    Args:
        log_weight: The log weights of proposals, up to a constant of each row.
        like: Gives shape, type and device.
        proposals: Proposals for each row.
        chunk: Proposals weighed at once over all rows, at least one for each; memory grows with it.
        generator: Of the proposals and of the choice.
        propose: Turns N(0, I) noise (B, N, *shape) into proposals of the same shape; none keeps the noise.
        keep: The present point of each row (B, *shape), which is one more to choose from.  The choice is then a Markov step
            that leaves the weighted density of the proposals as it is, however few they are (iterated sampling importance
            resampling: Andrieu, Doucet and Holenstein 2010, "Particle Markov chain Monte Carlo methods").
    """
    rows = len(like)
    every = torch.arange(rows, device=like.device)
    chosen, chosen_weight = like.detach().clone(), like.new_zeros(rows)
    best, log_sum, log_squares = (like.new_full((rows,), -torch.inf) for _ in range(3))
    finite, total = like.new_zeros(rows), proposals + (keep is not None)
    for u in _parts(like, proposals, chunk, generator, propose, keep):
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
    return Resampled(chosen, chosen_weight, size, finite / total, total)


def _parts(
    like: Tensor,
    proposals: int,
    chunk: int,
    generator: Generator | None,
    propose: Propose | None,
    keep: Tensor | None,
) -> Iterator[Tensor]:
    """Yield what is chosen from, (B, n, *shape) at a time."""
    if keep is not None:
        yield keep.detach()[:, None]
    at_once = max(1, chunk // max(1, len(like)))
    for first in range(0, proposals, at_once):
        count = min(at_once, proposals - first)
        u = torch.empty(len(like), count, *like.shape[1:], dtype=like.dtype, device=like.device).normal_(generator=generator)
        yield u if propose is None else propose(u)


def proposals_for(log_prob: LogProb, generator: Generator | None) -> tuple[LogWeight, Propose | None]:
    """Returns the log weights of proposals (B, N, D) for a density, and what makes them: draws of the density's `base`, or
    N(0, I) noise as it is (None)."""
    base = log_prob.base if isinstance(log_prob, TiltedNormal) else None

    def log_weight(u: Tensor) -> Tensor:
        flat = u.flatten(0, 1)
        value = log_prob(flat) if base is None else log_prob(flat) - base.log_ratio(flat)
        return value.view(u.shape[:2]) + 0.5 * u.square().sum(2)

    if base is None:
        return log_weight, None
    return log_weight, lambda noise: base.draw(noise.shape[0] * noise.shape[1], generator).view_as(noise)
