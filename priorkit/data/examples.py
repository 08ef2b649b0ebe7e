"""Splits of data: any selection of rows as one float32 batch, without a loop over the rows."""

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
        """Pixels (N, C, H, W), uint8 and writable (a copy-on-write map is), of the given rows, and their labels, int64."""
        super().__init__(torch.from_numpy(pixels), labels, rows, levels)

    def integers(self, indices: Tensor) -> Tensor:
        """Return the chosen images as stored, uint8 (B, C, H, W), on the CPU."""
        found: Tensor = self._store.index_select(0, self._locate(indices))
        return found

    def subset(self, indices: Tensor) -> "Images":
        """Return the chosen images as a separate split."""
        return Images(self._store.numpy(), self._labels_of(indices), levels=self.levels, rows=self._locate(indices))


class Points:
    """Points of a continuous space."""

    def __init__(self, x: Tensor, labels: Tensor | None = None) -> None:
        """Points x (N, d), float32, and labels (N,), int64."""
        self._x = x
        self._labels = labels

    @property
    def labels(self) -> Tensor | None:
        """(N,), int64, or None."""
        return self._labels

    def __len__(self) -> int:
        return len(self._x)

    def batch(self, indices: Tensor) -> Tensor:
        """Return the chosen points, float32 (B, d), on the CPU."""
        return self._x.index_select(0, indices.cpu())

    def subset(self, indices: Tensor) -> "Points":
        """Return the chosen points as a separate split."""
        indices = indices.cpu()
        return Points(self._x[indices], None if self._labels is None else self._labels[indices])


Split = Images | Points | Streamed
