"""Progress on the terminal: what is running, how far, at what rate, and the time left."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

__all__ = ["TerminalProgress", "showing"]

Item = TypeVar("Item")


class _Rate(ProgressColumn):
    """Items a second, or seconds an item where that reads better."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("     -/s")
        return Text(f"{speed:6.1f}/s" if speed >= 1 else f"{1 / speed:6.1f} s each")


class TerminalProgress:
    """A `priorkit.core.Progress`; nested loops show below one another."""

    def __init__(self, bar: Bar) -> None:
        self.bar = bar

    def __call__(self, items: Iterable[Item], total: int, title: str) -> Iterator[Item]:
        """Go through the items and show them."""
        task = self.bar.add_task(title, total=total)
        try:
            for item in items:
                yield item
                self.bar.advance(task)
        finally:
            self.bar.remove_task(task)


@contextmanager
def showing(console: Console, *, quiet: bool = False) -> Iterator[TerminalProgress]:
    """Show progress on the console (standard error) while the block runs; on a pipe or with `quiet` nothing moves."""
    columns = [TextColumn("{task.description:<34}"), BarColumn(30), MofNCompleteColumn(), _Rate(), TimeRemainingColumn()]
    with Bar(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        yield TerminalProgress(bar)
