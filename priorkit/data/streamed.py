"""A split of images that stay in place: each batch is read from the store when it is needed."""

from typing import Any

import torch
from torch import Tensor

from priorkit.data.chunk_files import ChunkFiles
from priorkit.data.stored import Stored
from priorkit.errors import UsageError

__all__ = ["Streamed"]


class Streamed(Stored):
    """Images of a store with 256 grey levels.  Subsets share the store."""

    def __init__(
        self,
        store: Any,
        labels: Tensor | None,
        title: str,
        *,
        rows: Tensor | None = None,
        files: ChunkFiles | None = None,
    ) -> None:
        """Images of a tensorstore.TensorStore (N, C, H, W), uint8, in the given rows, and their labels, int64; messages say
        `title`.

        `files` are the store's files if it is a local folder.
        """
        super().__init__(store, labels, rows, levels=256)
        self._title, self._files = title, files

    def integers(self, indices: Tensor) -> Tensor:
        """Return the chosen images as stored, uint8 (B, C, H, W), on the CPU.

        Raises UsageError if they cannot be read, or if one of their local files has changed since the store was opened.
        """
        rows = self._locate(indices)
        try:
            found = torch.from_numpy(self._store[rows.numpy()].read().result())
        # Exceptions of the library for a broken connection, a missing or a damaged file.
        except (ValueError, RuntimeError, OSError) as error:
            self._check(rows)
            raise UsageError(
                f"{self._title}: images cannot be read ({' '.join(str(error).split())[:500]}). Check that the "
                "store is complete and reachable."
            ) from error
        self._check(rows)  # after reading, so that no change comes between the two
        return found

    def _check(self, rows: Tensor) -> None:
        if self._files is not None:
            self._files.check(rows)

    def subset(self, indices: Tensor) -> "Streamed":
        """Return the chosen images as a separate split."""
        return Streamed(self._store, self._labels_of(indices), self._title, rows=self._locate(indices), files=self._files)
