"""What samples are asked to be: their labels, and the noise of their upper layers."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Generator, Tensor

from priorkit.mcmc.density import LogProb
from priorkit.mcmc.importance_resampling import proposals_for, resample

__all__ = ["Condition", "for_rows", "resampled_start"]

PROPOSALS = 32
"""Points of the base from which a chain's start is chosen."""


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


@torch.no_grad()
def resampled_start(
    log_prob: LogProb, present: Tensor, condition: Condition | None, *, generator: Generator | None = None
) -> Tensor:
    """Returns a start for chains, (n, D), with the fixed columns in place.

    Of its present point in (n, D) and 32 points of N(0, I), or of the density's base, each row keeps one, in proportion to
    its density over that.  This leaves the density as it is, and a chain need not walk to where its mass lies: an asked
    label is a small part of N(0, I), and in a few dimensions a density with edges or separate modes is hard to walk and
    easy to hit.
    """
    condition = condition or Condition()

    def fixed(noise: Tensor) -> Tensor:
        return condition.fix(noise.flatten(0, 1)).view(noise.shape)

    log_weight, propose = proposals_for(log_prob, generator)
    start = condition.fix(present)
    made = resample(
        log_weight, start, PROPOSALS, chunk=len(start), generator=generator, propose=propose or fixed, keep=start
    )
    return made.u
