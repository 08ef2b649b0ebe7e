"""One-time computations: named sets of tensors that a run stores with its weights, and how they are computed."""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

import torch
from torch import Tensor

__all__ = ["Cache", "ParallelMap", "Progress", "RowCache", "Rows", "no_cache", "no_progress", "rows_in_memory", "serial_map"]

Item = TypeVar("Item")


class Cache(Protocol):
    """Returns the stored tensors of that name, or computes and stores them. They must depend only on the run's state."""

    def __call__(self, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]: ...


class Progress(Protocol):
    """Iterates over `total` items and, in long computations, shows the rate and the remaining time. `start` counts the
    items that were done before, as in a resumed phase: the count shown is of `start + total`."""

    def __call__(self, items: Iterable[Item], total: int, title: str, *, start: int = 0) -> Iterable[Item]: ...


def no_cache(name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """A `Cache` that stores nothing."""
    return make()


def no_progress(items: Iterable[Item], total: int, title: str, *, start: int = 0) -> Iterable[Item]:
    """A `Progress` that shows nothing."""
    return items


class ParallelMap(Protocol):
    """Computes the chunks 0 ... count - 1 and joins their tensors, by name, along the first dimension. A chunk must
    depend only on the run's state and its number. With several processes, each computes some of the chunks and all get
    the complete result, so all processes must make the same calls in the same order."""

    def __call__(
        self, chunk: Callable[[int], dict[str, Tensor]], count: int, *, progress: Progress = no_progress, title: str = ""
    ) -> dict[str, Tensor]: ...


def serial_map(
    chunk: Callable[[int], dict[str, Tensor]], count: int, *, progress: Progress = no_progress, title: str = ""
) -> dict[str, Tensor]:
    """A `ParallelMap` over this process only."""
    chunks = [chunk(number) for number in progress(range(count), count, title)]
    return {name: torch.cat([done[name] for done in chunks]) for name in chunks[0]} if chunks else {}


class Rows(Protocol):
    """Rows that may be on disk: indexing with (B,) returns a tensor in memory, (B, ...). A tensor is `Rows` too."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Tensor, /) -> Tensor: ...


class RowCache(Protocol):
    """A `Cache` for data that may not fit into memory: the chunks of a `ParallelMap`, `rows` rows in total, are stored
    on disk. All chunks have the same names and tensors of numpy's data types. All processes must call it together."""

    def __call__(
        self,
        name: str,
        chunk: Callable[[int], dict[str, Tensor]],
        count: int,
        rows: int,
        *,
        progress: Progress = no_progress,
        title: str = "",
    ) -> Mapping[str, Rows]: ...


def rows_in_memory(
    name: str,
    chunk: Callable[[int], dict[str, Tensor]],
    count: int,
    rows: int,
    *,
    progress: Progress = no_progress,
    title: str = "",
) -> Mapping[str, Rows]:
    """A `RowCache` that stores nothing on disk, for a workbench without a folder."""
    return serial_map(chunk, count, progress=progress, title=title)
