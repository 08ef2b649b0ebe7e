"""Real pairs of neighbouring scales."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from priorkit_vdrme.schedule import Schedule

__all__ = ["Pairs", "real_pairs"]


@dataclass(frozen=True)
class Pairs:
    """x_i and x_{i+1} of B data, each at a separate scale."""

    x: Tensor
    """x_i, (B, D)."""
    above: Tensor
    """x_{i+1}, (B, D)."""
    level: Tensor
    """i, (B,)."""
    labels: Tensor | None = None
    """(B,), or None."""

    def repeated(self, count: int, times: int) -> "Pairs":
        """Return the first `count` rows, each repeated `times` times."""
        columns = (self.x, self.above, self.level)
        x, above, level = (value[:count].repeat_interleave(times, 0) for value in columns)
        labels = None if self.labels is None else self.labels[:count].repeat_interleave(times, 0)
        return Pairs(x, above, level, labels)


def real_pairs(schedule: Schedule, u: Tensor, labels: Tensor | None, generator: Generator, *, shared: bool) -> Pairs:
    """Diffuse data u (B, D), with scales in turn; `shared` uses the same x_0 and the same noise for both points of a
    pair."""
    level = torch.arange(len(u), device=u.device) % schedule.scales
    noise, more = torch.randn((2, *u.shape), generator=generator, dtype=u.dtype, device=u.device)
    x = schedule.corrupt(u, level, noise)
    above = schedule.corrupt(u, level + 1, noise) if shared else schedule.diffuse(x, level, more)
    return Pairs(x, above, level, labels)
