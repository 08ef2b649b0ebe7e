"""The rate of a loop and its remaining time, over the whole loop, so that they are known for slow steps too."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

__all__ = ["Pace"]


@dataclass
class Pace:
    """Counts the items of a loop; the rate is that since the loop began in this process."""

    total: int
    """Number of items to do here."""
    start: int = 0
    """Items done before, in another process."""
    clock: Callable[[], float] = time.monotonic
    done: int = 0
    """Items done here."""
    begun: float = field(init=False)
    last: float = field(init=False)
    """Seconds on the clock at the begin, and when the last item was done."""

    def __post_init__(self) -> None:
        self.begun = self.last = self.clock()

    def step(self) -> None:
        """Count an item that is done."""
        self.done += 1
        self.last = self.clock()

    @property
    def seconds_each(self) -> float | None:
        """Return the mean seconds per item; None before the first is done."""
        return (self.last - self.begun) / self.done if self.done else None

    @property
    def count(self) -> str:
        """Return '351/400': items done, of all, with those done before."""
        return f"{self.start + self.done}/{self.start + self.total}"

    @property
    def share(self) -> float:
        """Return the share of all items that is done, from 0 to 1."""
        return min(1.0, (self.start + self.done) / max(1, self.start + self.total))

    @property
    def rate(self) -> str:
        """Return '12.5/s' or '10.2 s each'; before the first item is done, the time since the begin."""
        each = self.seconds_each
        if each is None:
            return f"{self.clock() - self.begun:.0f} s"
        return f"{each:.1f} s each" if each > 1 else f"{1 / max(each, 1e-9):,.1f}/s"

    @property
    def left(self) -> str:
        """Return '0:08:10 left', counted down within a step; empty before the first item is done."""
        each = self.seconds_each
        if each is None:
            return ""
        seconds = (self.total - self.done) * each - (self.clock() - self.last)
        return f"{timedelta(seconds=max(0, round(seconds)))} left"
