"""What is asked of a prior that draws: with which chains, from which stage, under which condition."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from priorkit.core.condition import Condition
from priorkit.core.sampler import Sampler
from priorkit.mcmc.chain import Chain
from priorkit.mcmc.density import LogProb
from priorkit.mcmc.tilted_normal import BaseDensity, TiltedNormal

__all__ = ["Sampling"]


@dataclass(frozen=True)
class Sampling:
    """How points are drawn from a prior."""

    sampler: Sampler
    """Runs the chains; a prior that draws exactly does not need it."""
    generator: Generator | None = None
    """Of all random numbers; on the device of the points."""
    keep_every: int = 0
    """Chains keep every k-th state; 0 keeps none."""
    stages: int | None = None
    """Draw from the prior as it was after this many stages; None for all that are trained.  A prior without stages ignores
    it."""
    condition: Condition | None = None
    """Labels and fixed upper layers, one row per point.  Labels that the prior has not learnt are refused with a
    UsageError."""

    @property
    def labels(self) -> Mapping[str, Tensor]:
        """The labels that are asked for, (n,) int64 each."""
        return {} if self.condition is None else self.condition.labels

    def fix(self, u: Tensor) -> Tensor:
        """Returns u (n, D) with the fixed columns in their place."""
        return u if self.condition is None else self.condition.fix(u)

    def run(self, log_prob: LogProb, start: Tensor) -> Chain:
        """Returns a chain on the free columns of u from start (n, D), with the fixed ones in their place.

        Its states are whole, (n, D).  The density of the free columns given the fixed ones is the joint one up to a
        constant.  Labels are the caller's matter.
        """
        condition = self.condition
        if condition is None or condition.top is None:
            return self.sampler.run(log_prob, start, generator=self.generator, keep_every=self.keep_every)
        free = start[:, condition.fixed :]
        given = _given(log_prob, condition)
        chain = self.sampler.run(given, free, generator=self.generator, keep_every=self.keep_every)
        kept = chain.trajectory
        states = None if kept is None else torch.stack([condition.whole(state) for state in kept])
        return replace(chain, u=condition.whole(chain.u), trajectory=states)


def _given(log_prob: LogProb, condition: Condition) -> LogProb:
    """The log density of the free columns, up to a constant of each row."""
    if isinstance(log_prob, TiltedNormal):
        log_ratio, base = log_prob.log_ratio, log_prob.base
        return TiltedNormal(
            lambda free: log_ratio(condition.whole(free)), None if base is None else _free_of(base, condition)
        )
    return lambda free: log_prob(condition.whole(free))


def _free_of(base: BaseDensity, condition: Condition) -> BaseDensity:
    """The base of the free columns, up to a constant of each row; its draws have the fixed ones in place."""
    return BaseDensity(
        lambda free: base.log_ratio(condition.whole(free)),
        lambda n, generator: base.draw(n, generator)[:, condition.fixed :],
    )
