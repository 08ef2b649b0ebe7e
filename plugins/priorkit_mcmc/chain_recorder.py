"""What a chain tells of itself: figures stay on the device until the chain has ended."""

from math import sqrt

import torch
from torch import Tensor

from priorkit.core import Chain

__all__ = ["Record", "finite_rows", "per_coordinate"]


class Record:
    """Collects one entry per step and every k-th state, without waiting for the device."""

    def __init__(self, start: Tensor, keep_every: int) -> None:
        self._keep_every = keep_every
        self._states = [start.clone()] if keep_every > 0 else []
        self._figures: list[dict[str, Tensor]] = []

    def step(self, u: Tensor, **figures: Tensor) -> None:
        """Note the state after a step and the step's figures, each averaged over the batch."""
        self._figures.append({name: values.float().mean() for name, values in figures.items()})
        if self._keep_every > 0 and len(self._figures) % self._keep_every == 0:
            self._states.append(u.clone())

    def chain(self, u: Tensor, calls: int) -> Chain:
        """The finished chain."""
        names = self._figures[0] if self._figures else {}
        diagnostics = {name: torch.stack([figures[name] for figures in self._figures]) for name in names}
        return Chain(u, diagnostics, torch.stack(self._states) if self._states else None, calls)


def per_coordinate(vectors: Tensor) -> Tensor:
    """The root mean square over the coordinates of each row, (B, D) -> (B,)."""
    norms: Tensor = torch.linalg.vector_norm(vectors, dim=1)
    return norms / sqrt(vectors.shape[1])


def finite_rows(value: Tensor, displacement: Tensor) -> Tensor:
    """1 where a log density and a move are finite, (B,), (B,) -> (B,).  A state that is not finite has neither; looking at
    its entries would cost a third of a step."""
    return (value + displacement).isfinite()
