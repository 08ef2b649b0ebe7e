"""Checks whether a request fits into this machine's memory, before hours are spent on it."""

import os

from priorkit.errors import UsageError

__all__ = ["see_room"]


def see_room(n: int, entries: int, name: str = "n") -> None:
    """Raise UsageError, about the argument `name`, if `n` samples of so many float32 numbers each do not fit into memory."""
    if not hasattr(os, "sysconf"):
        return
    needed, there = 4 * n * entries, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise UsageError(
            f"{name}: {n:,} samples would take {needed / 2**30:,.3g} GiB, and this machine has "
            f"{there / 2**30:,.3g}. Draw fewer samples at once, with different seeds."
        )
