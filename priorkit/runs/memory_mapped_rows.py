"""Rows that may not fit into memory: computed in chunks, appended to files, memory-mapped.

    kept/NAME/u.npy           one file per tensor; the folder is written under a temporary name and renamed
    kept/NAME/MANIFEST.json   sizes and SHA-256 sums

Maps are read-only: the system rejects a copy-on-write map larger than memory, such as that of safetensors' reader.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priorkit.core import ParallelMap, Progress, no_progress, serial_map
from priorkit.errors import FellowError, UsageError
from priorkit.runtime.atomic_files import discard, holds, publish_folder, writing

__all__ = ["MappedRows", "cache_rows"]

Array = NDArray[Any]


class MappedRows:
    """The `Rows` of a file."""

    def __init__(self, path: Path) -> None:
        self._array: Array = np.load(path, mmap_mode="r", allow_pickle=False)

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, indices: Tensor) -> Tensor:
        """Return a copy of the chosen rows, on the CPU."""
        return torch.from_numpy(self._array[indices.cpu().numpy()])


def cache_rows(
    kept: Path,
    name: str,
    chunk: Callable[[int], dict[str, Tensor]],
    count: int,
    rows: int,
    *,
    progress: Progress = no_progress,
    title: str = "",
    parallel_map: ParallelMap = serial_map,
    at_once: int = 1,
    write: bool = True,
    agree: Callable[[bool], bool] = bool,
) -> dict[str, MappedRows]:
    """Return the `RowCache` of a run: read if it is complete, else computed again (bit by bit the same).

    Only one of several processes, `at_once` of them, may `write` and verify checksums; `agree` is true if all agree. At most
    one chunk per process is in memory at a time.
    """
    folder = kept / name
    if not agree(holds(folder) if write else True):
        files = _Files(folder, rows) if write else None
        # The writing process has a chunk in every round; another process may have none in the last.
        rounds = range(0, count, at_once)
        ticks = iter(progress(rounds, len(rounds), title))

        def numbered(first: int, number: int) -> dict[str, Tensor]:
            next(ticks, None)
            return chunk(first + number)

        def add(first: int) -> None:
            found = parallel_map(partial(numbered, first), min(at_once, count - first), title=title)
            _as_one(lambda: files.append(found) if files else None, agree, title)

        try:
            for first in rounds:
                add(first)
            _as_one(lambda: files.publish() if files else None, agree, title)
        finally:
            if files:
                files.discard()
        if write:
            next(ticks, None)  # the bar is full
    if not folder.is_dir():
        raise UsageError(
            f"{folder}: not found, although another process wrote it. All processes need access to the run's folder."
        )
    return {path.stem: MappedRows(path) for path in sorted(folder.glob("*.npy"))}


def _as_one(act: Callable[[], None], agree: Callable[[bool], bool], title: str) -> None:
    """Run what may fail on one process, and let it fail on all."""
    failure: BaseException | None = None
    try:
        act()
    except BaseException as error:  # the others wait, and are notified before the exception is raised again
        failure = error
    if not agree(failure is None):
        raise failure or FellowError(
            f"{title or 'a computation'}: another process could not write its result; its message gives the reason."
        )


@dataclass
class _File:
    """One tensor's file, and its rows written so far."""

    stream: BinaryIO
    digest: Any
    bytes: int = 0
    rows: int = 0

    def write(self, part: Array) -> None:
        """Append rows. Not mapped: on a full disk a write fails with an error, while a mapped page kills the process."""
        self.digest.update(part.data)
        self.stream.write(part.data)
        self.bytes += part.nbytes


class _Files:
    """The files of a folder that is being written."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.folder = folder
        self.rows = rows
        # One name for all attempts: an interrupted process's files are overwritten, and no longer use space.
        self.temporary = folder.with_name(f".{folder.name}.part")
        self.files: dict[str, _File] = {}

    def append(self, found: Mapping[str, Tensor]) -> None:
        """Write the next rows of every tensor."""
        parts = {name: part.detach().cpu().contiguous().numpy() for name, part in found.items()}
        with writing(self.folder):
            if not self.files:
                self._begin(parts)
            for name, part in parts.items():
                file = self.files[name]
                file.write(part)
                file.stream.flush()
                file.rows += len(part)

    def publish(self) -> None:
        """Sync the files and move the folder into place."""
        entries: dict[str, dict[str, int | str]] = {}
        with writing(self.folder):
            for name, file in self.files.items():
                if file.rows != self.rows:
                    raise RuntimeError(f"{self.folder.name}: {file.rows} rows of {name} were made, {self.rows} announced")
                os.fsync(file.stream.fileno())
                file.stream.close()
                entries[f"{name}.npy"] = {"bytes": file.bytes, "sha256": file.digest.hexdigest()}
            publish_folder(self.temporary, self.folder, entries)

    def discard(self) -> None:
        """Remove unpublished files."""
        for file in self.files.values():
            with suppress(OSError):  # the disk is still full
                file.stream.close()
        shutil.rmtree(self.temporary, ignore_errors=True)

    def _begin(self, parts: Mapping[str, Array]) -> None:
        for stale in (self.folder, self.temporary):
            discard(stale)
        self.temporary.mkdir(parents=True)
        needed = sum(part.nbytes // max(1, len(part)) for part in parts.values()) * self.rows
        if needed > (free := shutil.disk_usage(self.temporary).free):
            raise UsageError(
                f"{self.folder}: would take {needed / 2**30:.3g} GiB, and {free / 2**30:.3g} are free. "
                "Free some space, or store fewer samples (trainer.posterior_samples)."
            )
        for name, part in parts.items():
            stream = (self.temporary / f"{name}.npy").open("wb")
            self.files[name] = _File(stream, hashlib.sha256())
            header = BytesIO()
            described = np.lib.format.header_data_from_array_1_0(part) | {"shape": (self.rows, *part.shape[1:])}
            np.lib.format.write_array_header_1_0(header, described)
            self.files[name].write(np.frombuffer(header.getvalue(), dtype=np.uint8))
