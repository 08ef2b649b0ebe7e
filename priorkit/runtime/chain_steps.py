"""The steps of chains, told to the loop whose progress is shown: one of its items may take thousands of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["hearing_steps", "step_taken"]

_listeners: list[Callable[[], None]] = []


def step_taken() -> None:
    """Tell the innermost listener that all chains of a batch have made a step."""
    if _listeners:
        _listeners[-1]()


@contextmanager
def hearing_steps(listener: Callable[[], None]) -> Iterator[None]:
    """Call the listener at each step inside the block, unless another block inside it listens."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
