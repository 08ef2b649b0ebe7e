"""The rate of a loop and its remaining time, over the whole loop, so that they are known for slow steps too."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

__all__ = ["Pace"]

SLOW = 3.0
"""Seconds per item beyond which the steps of chains inside it are shown."""


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
    chain_steps: int = 0
    """Steps of chains in the present item."""
    earlier_steps: int = 0
    """Those in the items that are done."""

    def __post_init__(self) -> None:
        self.begun = self.last = self.clock()

    def step(self) -> None:
        """Count an item that is done."""
        self.done += 1
        self.last = self.clock()
        self.earlier_steps, self.chain_steps = self.earlier_steps + self.chain_steps, 0

    def chain_step(self) -> None:
        """Count a step of chains."""
        self.chain_steps += 1

    @property
    def seconds_each(self) -> float | None:
        """Return the mean seconds per item; None before the first is done."""
        return (self.last - self.begun) / self.done if self.done else None

    @property
    def count(self) -> str:
        """Return '351/400': items done, of all, with those done before; of slow ones '3/20, chain step 1,200/4,000'."""
        items, inside = f"{self.start + self.done}/{self.start + self.total}", self.chain_steps
        slow = max(self.seconds_each or 0.0, self.clock() - self.last) > SLOW
        if not (slow and inside):
            return items
        all_steps = max(inside, round(self.earlier_steps / self.done)) if self.earlier_steps else 0
        return f"{items}, chain step {inside:,}" + (f"/{all_steps:,}" if all_steps else "")

    @property
    def share(self) -> float:
        """Return the share of all items that is done, from 0 to 1, with the part of the present one that its chains have
        made."""
        part = min(1.0, self.chain_steps * self.done / self.earlier_steps) if self.earlier_steps else 0.0
        return min(1.0, (self.start + self.done + part) / max(1, self.start + self.total))

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
