"""Splits of data: they give any choice of their rows as one float32 batch, without a loop over the rows."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priorkit.data.stored import Stored
from priorkit.data.streamed import Streamed

__all__ = ["Images", "Points", "Split"]


class Images(Stored):
    """Images stored as integers 0 ... levels - 1.  Subsets share the store."""

    def __init__(
        self, pixels: NDArray[np.uint8], labels: Tensor | None = None, *, levels: int = 256, rows: Tensor | None = None
    ) -> None:
        """Of pixels (N, C, H, W), uint8 and writable (a copy-on-write map is), those in rows, and their labels, int64."""
        super().__init__(torch.from_numpy(pixels), labels, rows, levels)

    def integers(self, indices: Tensor) -> Tensor:
        """The chosen images as stored, uint8 (B, C, H, W), on the CPU."""
        found: Tensor = self._store.index_select(0, self._locate(indices))
        return found

    def subset(self, indices: Tensor) -> "Images":
        """The chosen images as a split of their own."""
        return Images(self._store.numpy(), self._labels_of(indices), levels=self.levels, rows=self._locate(indices))


class Points:
    """Points of a continuous space."""

    def __init__(self, x: Tensor, labels: Tensor | None = None) -> None:
        """Of x (N, d), float32, and labels (N,), int64."""
        self._x = x
        self._labels = labels

    @property
    def labels(self) -> Tensor | None:
        """(N,), int64, or None."""
        return self._labels

    def __len__(self) -> int:
        return len(self._x)

    def batch(self, indices: Tensor) -> Tensor:
        """The chosen points, float32 (B, d), on the CPU."""
        return self._x.index_select(0, indices.cpu())

    def subset(self, indices: Tensor) -> "Points":
        """The chosen points as a split of their own."""
        indices = indices.cpu()
        return Points(self._x[indices], None if self._labels is None else self._labels[indices])


Split = Images | Points | Streamed
