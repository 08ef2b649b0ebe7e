"""Work that is done once: named sets of tensors that a run keeps beside its weights."""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from torch import Tensor

__all__ = ["Keep", "Progress", "keep_nothing", "silent"]

Item = TypeVar("Item")


class Keep(Protocol):
    """Gives the kept tensors of that name, or makes and keeps them.  They must be a function of the run's state."""

    def __call__(self, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]: ...


class Progress(Protocol):
    """Goes through items and shows the rate and the time left when that takes long."""

    def __call__(self, items: Iterable[Item], total: int, title: str) -> Iterable[Item]: ...


def keep_nothing(name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """A `Keep` that always makes."""
    return make()


def silent(items: Iterable[Item], total: int, title: str) -> Iterable[Item]:
    """A `Progress` that shows nothing."""
    return items
