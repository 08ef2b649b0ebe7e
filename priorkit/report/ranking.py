"""The places of rows by one figure: rows that cannot be told from the first of their place share it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Behind", "Rank", "places"]


@dataclass(frozen=True)
class Behind:
    """How much worse one row is than another."""

    difference: float
    """In the figure's units; above 0: worse."""
    half_width: float | None
    """Half a 95 % interval; None if unknown."""
    how: str
    """How the interval was computed."""

    @property
    def certain(self) -> bool:
        """Whether the interval is above 0."""
        return self.half_width is not None and self.difference > self.half_width


@dataclass(frozen=True)
class Rank:
    """The place of a row, from 1."""

    place: int
    shared: bool
    """Whether other rows have the same place."""
    behind: Behind | None
    """How much worse than the first of its place; None for that one."""

    def __str__(self) -> str:
        return f"{self.place}{'=' if self.shared else ''}"

    def as_dict(self) -> dict[str, Any]:
        """Return the content of compare.json."""
        return {"place": self.place, "shared": self.shared, "behind": None if self.behind is None else vars(self.behind)}


def places(rows: Sequence[str], behind: Callable[[str, str], Behind]) -> Mapping[str, Rank]:
    """Return the rank of each row; `rows` are in order, the best first, and `behind` compares a row with the first of a
    place.

    The first row of a place shares it with all later ones whose interval of the difference contains 0. The next place is
    that of the first row left, and its number counts the rows before it.
    """
    ranks: dict[str, Rank] = {}
    left = list(rows)
    while left:
        first, place = left[0], len(ranks) + 1
        found = {row: behind(row, first) for row in left[1:]}
        alike = [row for row, each in found.items() if not each.certain]
        ranks[first] = Rank(place, bool(alike), None)
        ranks |= {row: Rank(place, True, found[row]) for row in alike}
        left = [row for row in left[1:] if row not in alike]
    return ranks
