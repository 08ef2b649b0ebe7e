"""The layers of a hierarchy in one flat tensor.

A generator with layers of shapes s_0 (top) ... s_{L-1} (bottom) has the latent u of shape (B, D), D = sum of the sizes.
Layer i occupies the columns `offsets[i] : offsets[i] + sizes[i]`, so "the top k layers" is a slice of columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import prod

import torch
from torch import Tensor

from priorkit.errors import UsageError

__all__ = ["Layout"]


@dataclass(frozen=True)
class Layout:
    """The shapes of the layers, top first, without the batch axis."""

    shapes: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not self.shapes or any(size < 1 for shape in self.shapes for size in shape):
            raise ValueError(f"Layout: expected at least one layer of positive sizes, got {self.shapes!r}")

    def __len__(self) -> int:
        return len(self.shapes)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of elements of each layer."""
        return tuple(prod(shape) for shape in self.shapes)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """First column of each layer."""
        return tuple(accumulate(self.sizes, initial=0))[:-1]

    @property
    def dim(self) -> int:
        """D, the number of columns."""
        return sum(self.sizes)

    def split(self, u: Tensor) -> list[Tensor]:
        """Views of u (B, D), one of shape (B, *shape_i) per layer, without copying."""
        if u.ndim != 2 or u.shape[1] != self.dim:
            raise ValueError(f"Layout.split: expected (B, {self.dim}), got {tuple(u.shape)}")
        return [part.view(len(u), *shape) for part, shape in zip(self.columns(u), self.shapes, strict=True)]

    def columns(self, u: Tensor) -> Sequence[Tensor]:
        """Views of u (B, D), one of shape (B, sizes[i]) per layer."""
        return torch.split(u, list(self.sizes), dim=1)

    def join(self, layers: Sequence[Tensor]) -> Tensor:
        """The inverse of `split`: layers of shape (B, *shape_i) to (B, D)."""
        shapes = tuple(tuple(layer.shape[1:]) for layer in layers)
        if shapes != self.shapes:
            raise ValueError(f"Layout.join: expected layers of shapes {self.shapes}, got {shapes}")
        return torch.cat([layer.flatten(1) for layer in layers], dim=1)

    def top(self, k: int) -> "Layout":
        """The layout of the top k layers; their columns are `u[:, : layout.top(k).dim]`."""
        if not 1 <= k <= len(self):
            raise UsageError(f"layers: expected top:k with 1 <= k <= {len(self)}, got top:{k}")
        return Layout(self.shapes[:k])

    def layer_sums(self, values: Tensor) -> Tensor:
        """Sum elementwise values (B, D) within each layer: (B, L)."""
        return torch.stack([part.sum(1) for part in self.columns(values)], dim=1)

    def select(self, spec: str) -> tuple[int, ...]:
        """Parse a selection of layers: 'all', 'top:k', 'bottom:k' or '0,2,5' (0 is the top). Raises UsageError."""
        count = len(self)
        if not isinstance(spec, str):
            raise UsageError(f"layers: expected a text such as 'all', 'top:1' or '0,2', got {spec!r}")
        try:
            if spec == "all":
                return tuple(range(count))
            if spec.startswith("top:"):
                return tuple(range(len(self.top(int(spec[4:])))))
            if spec.startswith("bottom:"):
                return tuple(range(count - len(self.top(int(spec[7:]))), count))
            chosen = tuple(int(item) for item in spec.split(","))
        except ValueError:
            chosen = ()
        if not chosen or any(not 0 <= i < count for i in chosen):
            raise UsageError(
                f"layers: expected 'all', 'top:k', 'bottom:k' or numbers from 0 (top) to {count - 1}, got {spec!r}"
            )
        return chosen
