"""Latents as training data: samples of the aggregated posterior, with what a prior reads beside u."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Generator, Tensor

__all__ = ["Latents"]


@dataclass(frozen=True)
class Latents:
    """N points of u-space; `z = T(u)` and the labels of their images where they are known."""

    u: Tensor
    """(N, D), float32."""
    z: Tensor | None = None
    """(N, D), or None where nobody reads z."""
    labels: Tensor | None = None
    """(N,), int64, or None."""
    mean: Tensor | None = None
    """(N, D), `Posterior.mean`, or None."""
    scale: Tensor | None = None
    """(N, D), `Posterior.scale`, or None."""
    features: Tensor | None = None
    """(N, F), `LatentSpace.features` of u, or None."""

    def redrawn(self, generator: Generator | None) -> Tensor:
        """Each layer of the posterior drawn anew under the layers above it in u, (N, D); u itself where the moments are not
        known.  Not one draw of the whole posterior: the layers are drawn beside each other."""
        if self.mean is None or self.scale is None:
            return self.u
        return torch.addcmul(self.mean, self.scale, torch.empty_like(self.u).normal_(generator=generator))

    def __len__(self) -> int:
        return len(self.u)

    def __getitem__(self, index: Tensor | slice) -> "Latents":
        """The chosen rows."""
        return self._mapped(lambda rows: rows[index])

    def split(self, rows: int) -> list["Latents"]:
        """The points in order, so many at once."""
        return [self[start : start + rows] for start in range(0, len(self), rows)]

    def to(self, device: torch.device | str) -> "Latents":
        """The same points on another device."""
        return self._mapped(lambda rows: rows.to(device))

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> "Latents":
        beside = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "u"}
        return Latents(change(self.u), **{name: None if rows is None else change(rows) for name, rows in beside.items()})
