"""Latents as training data: samples of the aggregated posterior, with the other inputs of a prior."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Generator, Tensor

__all__ = ["Latents"]


@dataclass(frozen=True)
class Latents:
    """N points of u-space, with `z = T(u)` and the labels of their images if they are known."""

    u: Tensor
    """(N, D), float32."""
    z: Tensor | None = None
    """(N, D), or None if z is not used."""
    labels: Tensor | None = None
    """(N,), int64, or None."""
    mean: Tensor | None = None
    """(N, D), `Posterior.mean`, or None."""
    scale: Tensor | None = None
    """(N, D), `Posterior.scale`, or None."""
    features: Tensor | None = None
    """(N, F), `LatentSpace.features` of u, or None."""
    negatives: Tensor | None = None
    """(N, D), u of samples of the current prior that a trainer has drawn beside the points, for a prior that
    `takes_negatives`; or None."""

    def redrawn(self, generator: Generator | None) -> Tensor:
        """Return new samples of each layer of the posterior given the layers above in u, (N, D); u itself if the
        moments are unknown. This is not a joint sample of the posterior: the layers are sampled independently given
        u."""
        if self.mean is None or self.scale is None:
            return self.u
        return torch.addcmul(self.mean, self.scale, torch.empty_like(self.u).normal_(generator=generator))

    def __len__(self) -> int:
        return len(self.u)

    def __getitem__(self, index: Tensor | slice) -> "Latents":
        """Return the selected rows."""
        return self._mapped(lambda rows: rows[index])

    def split(self, rows: int) -> list["Latents"]:
        """Split the points, in order, into parts of `rows` points."""
        return [self[start : start + rows] for start in range(0, len(self), rows)]

    def to(self, device: torch.device | str) -> "Latents":
        """Return the same points on another device."""
        return self._mapped(lambda rows: rows.to(device))

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> "Latents":
        beside = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "u"}
        return Latents(change(self.u), **{name: None if rows is None else change(rows) for name, rows in beside.items()})
