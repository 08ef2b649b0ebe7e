"""Checks that the files of a store in a local folder have not changed since it was opened.

Each batch is read when it is needed, and a file that was overwritten meanwhile is as valid as the one before: only its size,
times and inode show that the run would continue with other images.
"""

import json
import time
from collections.abc import Iterator
from itertools import product
from math import ceil
from pathlib import Path

from torch import Tensor

from priorkit.errors import UsageError

__all__ = ["ChunkFiles"]

Identity = tuple[int, int, int]
"""Size, time of the last change of the content in ns, and inode."""


class ChunkFiles:
    """The files of one array of Zarr version 3, recorded when each is first used."""

    def __init__(self, folder: Path, description: bytes, title: str) -> None:
        """The array in `folder`, as its zarr.json describes it; messages call it `title`."""
        metadata = json.loads(description)
        self._rows, *inner = metadata["chunk_grid"]["configuration"]["chunk_shape"]
        self._inner = [range(ceil(size / chunk)) for size, chunk in zip(metadata["shape"][1:], inner, strict=True)]
        encoding = metadata["chunk_key_encoding"]
        by_name = encoding["name"] == "default"
        self._separator = encoding.get("configuration", {}).get("separator", "/" if by_name else ".")
        self._start = ["c"] if by_name else []
        self._folder, self._title = folder, title
        self._opened = time.time_ns()
        self._known: dict[Path, Identity] = {}

    def check(self, rows: Tensor) -> None:
        """Raise UsageError if a file with one of these rows (B,), int64, is not the one used before, or was written after
        the store was opened. A missing file is left to the reader."""
        for number in {row // self._rows for row in rows.tolist()}:
            for path in self._files(number):
                self._check(path)

    def _files(self, number: int) -> Iterator[Path]:
        for place in product(*self._inner):
            yield self._folder / self._separator.join([*self._start, *map(str, (number, *place))])

    def _check(self, path: Path) -> None:
        try:
            found = path.stat()
        except OSError:
            return
        now = (found.st_size, found.st_mtime_ns, found.st_ino)
        known = self._known.get(path)
        # A file that was moved here keeps its modification time, so at first use its change time counts too.
        if known != now if known else max(found.st_mtime_ns, found.st_ctime_ns) > self._opened:
            raise UsageError(
                f"{self._title}: {path.relative_to(self._folder.parent)} has changed since the store was "
                "opened, so its images may differ. Restore the old file and continue with --resume, or start "
                "another run."
            )
        self._known[path] = now
