"""Common base of splits of images, wherever the images are stored."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

__all__ = ["Stored"]


class Stored(ABC):
    """Rows of a store of images (N, C, H, W); subsets share the store."""

    def __init__(self, store: Any, labels: Tensor | None, rows: Tensor | None, levels: int) -> None:
        """All images of the store, or those in rows (B,); labels are those of these images, int64."""
        self._store = store
        self._labels = labels
        self._rows = rows
        self.levels = levels

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return tuple(self._store.shape[1:])

    @property
    def labels(self) -> Tensor | None:
        """(N,), int64, or None."""
        return self._labels

    def __len__(self) -> int:
        return int(self._store.shape[0]) if self._rows is None else len(self._rows)

    @abstractmethod
    def integers(self, indices: Tensor) -> Tensor:
        """Return the chosen images as stored, uint8 (B, C, H, W), on the CPU."""

    def batch(self, indices: Tensor) -> Tensor:
        """Return the chosen images, float32 (B, C, H, W) in [0, 1], on the CPU."""
        return self.integers(indices).float().div_(self.levels - 1)

    def _locate(self, indices: Tensor) -> Tensor:
        """Return the rows of the chosen images in the store."""
        indices = indices.cpu()
        return indices if self._rows is None else self._rows.index_select(0, indices)

    def _labels_of(self, indices: Tensor) -> Tensor | None:
        return None if self._labels is None else self._labels[indices.cpu()]
