"""Progress on the terminal: the current loop, its position, rate and remaining time."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

__all__ = ["PlainProgress", "TerminalProgress", "showing"]

Item = TypeVar("Item")

EVERY = 30.0
"""Seconds between two lines on output that is not a terminal."""


class _Rate(ProgressColumn):
    """Items per second, or seconds per item if that is more readable."""

    def render(self, task: Task) -> Text:
        return Text(_rate(task.finished_speed or task.speed))


class TerminalProgress:
    """A `priorkit.core.Progress`; nested loops are shown below one another."""

    def __init__(self, bar: Bar) -> None:
        self.bar = bar

    def __call__(self, items: Iterable[Item], total: int, title: str) -> Iterator[Item]:
        """Iterate over the items with a progress bar."""
        task = self.bar.add_task(title, total=total)
        try:
            for item in items:
                yield item
                self.bar.advance(task)
        finally:
            self.bar.remove_task(task)


class PlainProgress:
    """A `priorkit.core.Progress` for pipes and files: occasional lines about the innermost active loop."""

    def __init__(self, console: Console, every: float = EVERY) -> None:
        self.console = console
        self.every = every
        self.told = time.monotonic()

    def __call__(self, items: Iterable[Item], total: int, title: str) -> Iterator[Item]:
        """Iterate over the items and print progress lines."""
        begun = time.monotonic()
        for done, item in enumerate(items, start=1):
            yield item
            now = time.monotonic()
            if now - self.told >= self.every:
                self.told = now
                speed = done / (now - begun)
                left = timedelta(seconds=round((total - done) / speed))
                told = f"{title}  {done}/{total}  {_rate(speed).strip()}  {left} left"
                self.console.print(told, soft_wrap=True, markup=False)


@contextmanager
def showing(console: Console, *, quiet: bool = False) -> Iterator[TerminalProgress | PlainProgress]:
    """Show progress on the console (standard error) inside the block: bars, lines on a pipe, nothing with `quiet`."""
    if not (quiet or console.is_terminal):
        yield PlainProgress(console)
        return
    title = TextColumn("{task.description:<34}", markup=False)
    columns = [title, BarColumn(30), MofNCompleteColumn(), _Rate(), TimeRemainingColumn()]
    bar = Bar(*columns, console=console, transient=True, disable=quiet)
    # Rich before 14.3 ends even a disabled bar with an empty line.
    with nullcontext() if quiet else bar:
        yield TerminalProgress(bar)


def _rate(speed: float | None) -> str:
    if not speed:
        return "     -/s"
    return f"{speed:6.1f}/s" if speed >= 1 else f"{1 / speed:6.1f} s each"
