"""The toys as data: `toy:NAME`."""

from typing import Any

from priorkit.core import DataSource
from priorkit.data.dataset import Dataset
from priorkit.data.toys import TOYS, load_toy

__all__ = ["ToySource"]


class ToySource(DataSource):
    """Points in the plane with a known density."""

    places = tuple(TOYS)

    def __call__(self, root: object = None, *, place: str = "", **_: Any) -> Dataset:
        """Return the toy of that name; it needs no folder."""
        return load_toy(f"toy:{place}")
