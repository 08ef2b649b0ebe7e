"""The terminal that commands print to."""

from typing import Any

from rich.console import Console

__all__ = ["plain_console"]


def plain_console(**options: Any) -> Console:
    """A console that prints text as it is, also in tables: brackets in a path are no markup, and colons no emoji."""
    return Console(markup=False, emoji=False, **options)
