"""Messages through a rich console, which shows bars at the same time."""

from rich.console import Console

from priorkit.cli.wrapping import wrapped

__all__ = ["say"]


def say(console: Console, told: str) -> None:
    """Print a message in lines of the terminal's width; elsewhere on one line, so that a path in it can be copied."""
    told = wrapped(told, console.width) if console.is_terminal else told
    console.print(told, markup=False, emoji=False, highlight=False, soft_wrap=True)
