"""Figures as charts of a page, for wide and for narrow screens."""

from matplotlib.figure import Figure

from priorkit.report.inline import inline_svg
from priorkit.report.page import Chart
from priorkit.report.stacking import stack

__all__ = ["drawn"]


def drawn(name: str, figure: Figure | None, title: str) -> list[Chart]:
    """Return the chart of a figure, whose `name` is unique in the page; none for None. The figure is changed."""
    if figure is None:
        return []
    wide = inline_svg(figure, name)
    return [Chart(title, wide, inline_svg(figure, f"{name}-narrow") if stack(figure) else "")]
