"""Progress on the terminal: the current loop, its position, rate, remaining time and newest losses."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import ProgressColumn, Task
from rich.text import Text

from priorkit.report.pace import Pace
from priorkit.runtime.chain_steps import hearing_steps

__all__ = ["PlainProgress", "TerminalProgress", "showing"]

Item = TypeVar("Item")

EVERY = 30.0
"""Seconds between two lines on output that is not a terminal."""
BAR = (8, 30)
"""Smallest and largest width of a bar in columns."""
TURNING = "|/-\\"
"""What moves, four times a second, while a slow step moves nothing else."""


class _Line(ProgressColumn):
    """Title, bar, count, rate, time left and losses, in as many lines as the terminal's width needs; the bar is drawn where
    all fit into one."""

    max_refresh = None

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def render(self, task: Task) -> Text:
        pace: Pace = task.fields["pace"]
        turning = TURNING[int(4 * pace.clock()) % 4]
        parts = [f"{turning} {task.description}", pace.count, pace.rate, pace.left, task.fields["note"]]
        return Text("\n".join(_lines([part for part in parts if part], pace.share, self.console)))


class TerminalProgress:
    """A `priorkit.core.Progress`; nested loops are shown below one another."""

    def __init__(self, bar: Bar, clock: Callable[[], float] = time.monotonic) -> None:
        self.bar = bar
        self.clock = clock

    def __call__(self, items: Iterable[Item], total: int, title: str, *, start: int = 0) -> Iterator[Item]:
        """Iterate over the items with a progress bar."""
        pace = Pace(total, start, self.clock)
        task = self.bar.add_task(title, total=total, pace=pace, note="")
        try:
            with hearing_steps(pace.chain_step):
                for item in items:
                    yield item
                    pace.step()
                    self.bar.advance(task)
        finally:
            self.bar.remove_task(task)

    def note(self, title: str, figures: Mapping[str, float]) -> None:
        """Show a loop's newest figures beside its bar, in place of earlier ones of the same names."""
        for task in self.bar.tasks:
            if task.description == title and figures:
                known = {**task.fields.get("figures", {}), **figures}
                self.bar.update(task.id, figures=known, note=_told(known))


class PlainProgress:
    """A `priorkit.core.Progress` for pipes and files: occasional lines about the innermost active loop."""

    def __init__(self, console: Console, every: float = EVERY, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self.every = every
        self.clock = clock
        self.told = clock()
        self.figures: dict[str, dict[str, float]] = {}

    def __call__(self, items: Iterable[Item], total: int, title: str, *, start: int = 0) -> Iterator[Item]:
        """Iterate over the items and print progress lines."""
        pace = Pace(total, start, self.clock)

        def chain_step() -> None:
            pace.chain_step()
            self._tell(title, pace)

        with hearing_steps(chain_step):
            for item in items:
                yield item
                pace.step()
                self._tell(title, pace)

    def _tell(self, title: str, pace: Pace) -> None:
        """Print a line if it is time."""
        now = self.clock()
        if now - self.told >= self.every:
            self.told = now
            parts = [title, pace.count, pace.rate, pace.left, _told(self.figures.get(title, {}))]
            self.console.print("  ".join(part for part in parts if part), soft_wrap=True, markup=False)

    def note(self, title: str, figures: Mapping[str, float]) -> None:
        """Add a loop's newest figures to its next lines, in place of earlier ones of the same names."""
        self.figures.setdefault(title, {}).update(figures)


@contextmanager
def showing(console: Console, *, quiet: bool = False) -> Iterator[TerminalProgress | PlainProgress]:
    """Show progress on the console (standard error) inside the block: bars, lines on a pipe, nothing with `quiet`."""
    if not (quiet or console.is_terminal):
        yield PlainProgress(console)
        return
    bar = Bar(_Line(console), console=console, transient=True, disable=quiet, refresh_per_second=4)
    # Rich before 14.3 ends even a disabled bar with an empty line.
    with nullcontext() if quiet else bar:
        yield TerminalProgress(bar)


def _lines(parts: list[str], share: float, console: Console) -> list[str]:
    """Return the parts in lines of the console's width, with a bar after the first part where there is room."""
    room = console.width - sum(len(part) + 2 for part in parts) - 1
    if room >= BAR[0]:
        return ["  ".join([parts[0], _bar(share, min(room, BAR[1]), ascii_only=console.options.ascii_only), *parts[1:]])]
    lines = [parts[0]]
    for part in parts[1:]:
        fits = len(lines[-1]) + 2 + len(part) < console.width
        lines = [*lines[:-1], f"{lines[-1]}  {part}"] if fits else [*lines, f"  {part}"]
    return lines


def _bar(share: float, width: int, *, ascii_only: bool) -> str:
    full, rest = ("#", ".") if ascii_only else ("━", "╌")
    done = round(share * width)
    return full * done + rest * (width - done)


def _told(figures: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
