"""Ctrl-C and SIGTERM: the first asks the loop to save and stop, the second aborts."""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from priorkit.core import Progress
from priorkit.errors import InterruptedRunError

__all__ = ["StopRequest", "interruptible", "listening"]


class StopRequest:
    """Holds the number of the signal that came, or None."""

    def __init__(self) -> None:
        self.number: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Signal handler."""
        if self.number is not None:
            raise KeyboardInterrupt
        self.number = number


@contextmanager
def listening() -> Iterator[StopRequest]:
    """Catch SIGINT and SIGTERM for as long as the block runs (in the main thread; elsewhere signals stay as they are)."""
    request = StopRequest()
    try:
        previous = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:
        previous = {}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def interruptible(progress: Progress, stop: StopRequest) -> Progress:
    """A progress that ends long work outside the step loop when a signal came."""

    def go(items: Iterable[Any], total: int, title: str, *, start: int = 0) -> Iterator[Any]:
        for item in progress(items, total, title, **({"start": start} if start else {})):
            if stop.number is not None:
                raise InterruptedRunError(
                    "Stopped between two checkpoints; `priorkit train --resume` repeats this part.", stop.number
                )
            yield item

    return go
