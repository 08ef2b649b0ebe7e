"""Charts for narrow screens: the panels of a figure below one another."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

__all__ = ["stack"]

WIDEST = 5.0
"""Largest width in inches; at 390 pixels a chart of that width is still readable."""
LOWER = 0.8
"""Height of a panel of those stacked, of its own height."""


def stack(figure: Figure) -> bool:
    """Place panels that stand side by side below one another, at most 5 inches wide, each with its own labels.

    Returns False, with the figure as it was, if it is narrow already.
    """
    width, height = (float(side) for side in figure.get_size_inches())
    if width <= WIDEST:
        return False
    panels: dict[int, list[Axes]] = {}
    for axis in figure.axes:
        if (spec := axis.get_subplotspec()) is not None:
            panels.setdefault(spec.num1, []).append(axis)  # twin axes share a panel
    grid = GridSpec(len(panels), 1, figure=figure)
    label = next(iter(panels.values()))[0].get_ylabel()
    for row, axes in enumerate(panels.values()):
        for axis in axes:
            axis.set_subplotspec(grid[row, 0])
        axes[0].tick_params(labelleft=True)
        axes[0].set_ylabel(axes[0].get_ylabel() or label)
    if len(panels) == 1:
        figure.axes[0].tick_params(axis="x", labelrotation=90)
    figure.set_size_inches(min(WIDEST, max(width / len(panels), 4.0)), LOWER * height * len(panels))
    return True
