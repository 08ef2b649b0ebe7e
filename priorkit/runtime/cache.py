"""Work that is done once: named sets of tensors that a run keeps beside its weights, and who makes them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

import torch
from torch import Tensor

__all__ = ["Cache", "ParallelMap", "Progress", "RowCache", "Rows", "no_cache", "no_progress", "rows_in_memory", "serial_map"]

Item = TypeVar("Item")


class Cache(Protocol):
    """Gives the kept tensors of that name, or makes and keeps them.  They must be a function of the run's state."""

    def __call__(self, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]: ...


class Progress(Protocol):
    """Goes through items and shows the rate and the time left when that takes long."""

    def __call__(self, items: Iterable[Item], total: int, title: str) -> Iterable[Item]: ...


def no_cache(name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """A `Cache` that always makes."""
    return make()


def no_progress(items: Iterable[Item], total: int, title: str) -> Iterable[Item]:
    """A `Progress` that shows nothing."""
    return items


class ParallelMap(Protocol):
    """Does the pieces 0 ... count - 1 of a piece of work and joins their tensors, by name, along the first dimension.

    A piece must be a function of the run's state and its own number alone.  Of several processes each does its share of
    them, and all get the whole; so all must ask for the same at the same time.
    """

    def __call__(
        self, piece: Callable[[int], dict[str, Tensor]], count: int, *, progress: Progress = no_progress, title: str = ""
    ) -> dict[str, Tensor]: ...


def serial_map(
    piece: Callable[[int], dict[str, Tensor]], count: int, *, progress: Progress = no_progress, title: str = ""
) -> dict[str, Tensor]:
    """A `ParallelMap` over this process only."""
    pieces = [piece(number) for number in progress(range(count), count, title)]
    return {name: torch.cat([done[name] for done in pieces]) for name in pieces[0]} if pieces else {}


class Rows(Protocol):
    """Rows that may lie on the disk: those of indices (B,) come as a tensor in memory, (B, ...).  A tensor is `Rows` too."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Tensor, /) -> Tensor: ...


class RowCache(Protocol):
    """A `Cache` of what need not fit into memory: the pieces of a `ParallelMap`, `rows` rows in all, go to the disk.

    Pieces give the same names, and tensors of numpy's types.  Of several processes all must ask at the same time.
    """

    def __call__(
        self,
        name: str,
        piece: Callable[[int], dict[str, Tensor]],
        count: int,
        rows: int,
        *,
        progress: Progress = no_progress,
        title: str = "",
    ) -> Mapping[str, Rows]: ...


def rows_in_memory(
    name: str,
    piece: Callable[[int], dict[str, Tensor]],
    count: int,
    rows: int,
    *,
    progress: Progress = no_progress,
    title: str = "",
) -> Mapping[str, Rows]:
    """A `RowCache` that keeps nothing on the disk, for a workbench without a folder."""
    return serial_map(piece, count, progress=progress, title=title)
