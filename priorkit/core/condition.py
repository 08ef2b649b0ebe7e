"""What samples are asked to be: their labels, and the noise of their upper layers."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Generator, Tensor

from priorkit.core.sampler import Sampler
from priorkit.mcmc.chain import Chain
from priorkit.mcmc.density import LogProb
from priorkit.mcmc.tilted_normal import TiltedNormal

__all__ = ["Condition", "for_rows", "resampled_start", "run_conditioned"]

PROPOSALS = 32
"""Points of N(0, I) from which a conditioned chain's start is chosen."""


def for_rows(values: Tensor, rows: int) -> Tensor:
    """values (n, ...), one per sample, for a multiple of n rows: those of a sample stand together, as where a sampler weighs
    several proposals for each."""
    return values if len(values) == rows else values.repeat_interleave(rows // len(values), dim=0)


@dataclass(frozen=True)
class Condition:
    """Asked of n samples, one row each."""

    labels: Mapping[str, Tensor] = field(default_factory=dict)
    """The value of each attribute that is asked for, (n,) int64, by the attribute's name."""
    top: Tensor | None = None
    """(n, D_k), the fixed noise of the top k layers, or None where all of u is free."""

    @property
    def fixed(self) -> int:
        """D_k, the number of fixed columns."""
        return 0 if self.top is None else self.top.shape[1]

    def whole(self, free: Tensor) -> Tensor:
        """Free columns (n, D - D_k) with the fixed ones before them, (n, D); also for several rows per sample."""
        return free if self.top is None else torch.cat([for_rows(self.top, len(free)).to(free), free], dim=1)

    def fix(self, u: Tensor) -> Tensor:
        """u (n, D) with the fixed columns in their place."""
        return u if self.top is None else self.whole(u[:, self.fixed :])

    def rows(self, first: int, count: int) -> "Condition":
        """That of `count` samples from `first` on; beyond the last sample, that of the last."""

        def taken(value: Tensor) -> Tensor:
            return value[torch.arange(first, first + count, device=value.device).clamp(max=len(value) - 1)]

        labels = {name: taken(value) for name, value in self.labels.items()}
        return replace(self, labels=labels, top=None if self.top is None else taken(self.top))


def run_conditioned(
    sampler: Sampler,
    log_prob: LogProb,
    start: Tensor,
    condition: Condition | None,
    *,
    generator: Generator | None = None,
    keep_every: int = 0,
) -> Chain:
    """A chain on the free columns of u from start (n, D), with the fixed ones in their place; its states are whole.

    The density of the free columns given the fixed ones is the joint one up to a constant.
    """
    if condition is None or condition.top is None:
        return sampler.run(log_prob, start, generator=generator, keep_every=keep_every)
    given = _given(log_prob, condition)
    chain = sampler.run(
        given,
        start[:, condition.fixed :],
        generator=generator,
        keep_every=keep_every,
    )
    kept = chain.trajectory
    states = None if kept is None else torch.stack([condition.whole(state) for state in kept])
    return replace(chain, u=condition.whole(chain.u), trajectory=states)


def _given(log_prob: LogProb, condition: Condition) -> LogProb:
    """The log density of the free columns, up to a constant of each row."""
    if isinstance(log_prob, TiltedNormal):
        log_ratio = log_prob.log_ratio
        return TiltedNormal(lambda free: log_ratio(condition.whole(free)))
    return lambda free: log_prob(condition.whole(free))


@torch.no_grad()
def resampled_start(log_prob: LogProb, like: Tensor, condition: Condition, *, generator: Generator | None = None) -> Tensor:
    """A start for chains that are asked for labels, (n, D), like `like` (n, D), with the fixed columns in their place.

    Of 32 points of N(0, I) each row keeps one, in proportion to its density over N(0, I): a first draw by
    sampling-importance-resampling.  An asked label lies in a small part of N(0, I), and a chain from anywhere takes most of
    its steps to get there.
    """
    best, kept = like.new_full((len(like),), -torch.inf), condition.fix(like)
    for _ in range(PROPOSALS):
        u = condition.fix(torch.empty_like(like).normal_(generator=generator))
        weight = (log_prob(u) + 0.5 * u.square().sum(1)).nan_to_num(nan=-torch.inf, posinf=-torch.inf)
        # The largest of log weight + Gumbel noise has the law of a draw in proportion to the weights.
        key = weight - torch.empty_like(weight).exponential_(generator=generator).log()
        kept = torch.where((key > best)[:, None], u, kept)
        best = torch.maximum(best, key)
    return kept
