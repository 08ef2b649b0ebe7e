"""The terminal that commands print to."""

from typing import Any

from rich.console import Console

__all__ = ["plain_console"]


NARROWEST = 60
"""Columns below which a table would lose its metrics; a narrower terminal wraps the lines."""


def plain_console(**options: Any) -> Console:
    """A console that prints text as it is, also in tables: brackets in a path are no markup, and colons no emoji."""
    console = Console(markup=False, emoji=False, **options)
    if console.width < NARROWEST:  # COLUMNS=0 and terminals that tell no width would show nothing
        console.width = NARROWEST
    return console
