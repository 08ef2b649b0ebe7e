"""The terminal to which commands print."""

from typing import Any

from rich.console import Console

__all__ = ["plain_console"]


NARROWEST = 40
"""Smallest width in columns: below it words would be broken; a narrower terminal wraps lines."""


def plain_console(**options: Any) -> Console:
    """Return a console that prints text unchanged, also in tables: no markup from brackets in paths, no emoji from
    colons."""
    console = Console(markup=False, emoji=False, **options)
    if console.width < NARROWEST:  # with COLUMNS=0, or on terminals of unknown width, nothing would be shown
        console.width = NARROWEST
    return console
