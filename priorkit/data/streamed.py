"""A split of images that stay where they are: each batch is read from the store when it is asked for."""

from typing import Any

import torch
from torch import Tensor

from priorkit.errors import UsageError

__all__ = ["Streamed"]


class Streamed:
    """Images of a store with 256 grey levels.  Subsets share the store."""

    levels = 256

    def __init__(self, store: Any, labels: Tensor | None, title: str, *, rows: Tensor | None = None) -> None:
        """Of a tensorstore.TensorStore (N, C, H, W), uint8, those in rows, and their labels, int64; messages say title."""
        self._store = store
        self._labels = labels
        self._title = title
        self._rows = rows

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

    def integers(self, indices: Tensor) -> Tensor:
        """The chosen images as stored, uint8 (B, C, H, W), on the CPU.  Raises UsageError where they cannot be read."""
        rows = self._locate(indices)
        try:
            return torch.from_numpy(self._store[rows.numpy()].read().result())
        # What the library raises for a broken connection, a missing or a damaged file.
        except (ValueError, RuntimeError, OSError) as error:
            raise UsageError(
                f"{self._title}: images cannot be read ({' '.join(str(error).split())[:500]}). See that the store is whole "
                "and can be reached."
            ) from error

    def batch(self, indices: Tensor) -> Tensor:
        """The chosen images, float32 (B, C, H, W) in [0, 1], on the CPU."""
        return self.integers(indices).float().div_(self.levels - 1)

    def subset(self, indices: Tensor) -> "Streamed":
        """The chosen images as a split of their own."""
        labels = None if self._labels is None else self._labels[indices.cpu()]
        return Streamed(self._store, labels, self._title, rows=self._locate(indices))

    def _locate(self, indices: Tensor) -> Tensor:
        indices = indices.cpu()
        return indices if self._rows is None else self._rows.index_select(0, indices)
