"""Latents as training data: samples of the aggregated posterior, with z beside u where a prior reads z."""

from dataclasses import dataclass

import torch
from torch import Tensor

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

    def __len__(self) -> int:
        return len(self.u)

    def __getitem__(self, index: Tensor | slice) -> "Latents":
        """The chosen rows."""
        return Latents(
            self.u[index],
            None if self.z is None else self.z[index],
            None if self.labels is None else self.labels[index],
        )

    def to(self, device: torch.device | str) -> "Latents":
        """The same points on another device."""
        return Latents(
            self.u.to(device),
            None if self.z is None else self.z.to(device),
            None if self.labels is None else self.labels.to(device),
        )
