"""The chart of the prior hole per layer."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from priorkit.core.metric import Metric
from priorkit.report.headline import BEST_REACHABLE
from priorkit.report.hole_table import hole_rows

__all__ = ["hole_chart"]

PANEL = (4.4, 3.5)


def hole_chart(figures: Mapping[str, Metric]) -> Drawing | None:
    """Plot the prior hole. Left: the top k layers from the posterior and from the learned prior; right: each layer from N(0,
    I).

    None without metrics of the group `hole`.
    """
    rows = hole_rows(figures)
    if not rows:
        return None
    floor = rows["top"][max(rows["top"])].value
    drawing = Drawing(figsize=(1 + PANEL[0] * (1 + ("only" in rows)), PANEL[1]), layout="constrained")
    axes = drawing.subplots(1, 1 + ("only" in rows), squeeze=False, sharey=True)[0]
    _points(axes[0], rows["top"], "top k from the posterior", "C0")
    if "prior_top" in rows:
        _points(axes[0], rows["prior_top"], "top k from the learned prior", "C1")
    if "hole_shuffled" in figures:
        axes[0].axhline(figures["hole_shuffled"].value, color="C2", ls="--", lw=1, label="layers of different images")
    axes[0].set(xlabel="k (the layers below from N(0, I))", ylabel="Fréchet distance to held-out images")
    if "only" in rows:
        only = rows["only"]
        axes[1].bar(list(only), [each.value for each in only.values()], yerr=_errors(only), color="C0", width=0.6)
        axes[1].set(xlabel="the layer from N(0, I) (the others from the posterior)")
    for axis in axes:
        axis.axhline(floor, color="grey", ls=":", lw=1, label=BEST_REACHABLE)
        axis.set_ylim(bottom=0)
        axis.xaxis.get_major_locator().set_params(integer=True)
    axes[0].legend(fontsize=8, frameon=False)
    return drawing


def _points(axis: Axes, rows: Mapping[int, Metric], label: str, colour: str) -> None:
    values = [each.value for each in rows.values()]
    axis.errorbar(list(rows), values, yerr=_errors(rows), label=label, color=colour, marker="o", ms=5, lw=1.2)


def _errors(rows: Mapping[int, Metric]) -> list[float]:
    return [each.spread or 0.0 for each in rows.values()]
