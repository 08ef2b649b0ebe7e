"""Charts of a comparison: the gap per layer, quality against cost, metrics after each stage, out-of-distribution
detection."""

import re
from collections.abc import Mapping, Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from priorkit.metrics.detection import Estimate
from priorkit.report.comparison import Comparison, Row, Value
from priorkit.report.comparison_table import COSTS
from priorkit.report.detection import Scores, curves
from priorkit.report.direction import ARROWS, badness, direction
from priorkit.report.page_words import in_full
from priorkit.report.titles import title

__all__ = ["against_cost", "front", "gap_by_layer", "outsider_curves", "read_scores", "stage_curves"]

PANEL = (4.4, 3.5)
COSTS_SHOWN = ("seconds", "calls_per_sample", "samples_per_second")


def gap_by_layer(comparison: Comparison) -> Figure | None:
    """Plot the classifier AUC of each layer, top first, and of all layers; None with a single layer."""
    layers = sorted({int(m[1]) for row in comparison.rows for name in row.figures if (m := _LAYER.fullmatch(name))})
    if len(layers) < 2:
        return None
    figure = Figure(figsize=(max(5.0, 2.5 + 0.8 * len(layers)), 3.6), layout="constrained")
    axis = figure.subplots()
    rows = [row for row in comparison.rows if "gap_auc" in row.figures]
    names = [*(f"gap_auc_layer_{layer}" for layer in layers), "gap_auc"]
    for number, row in enumerate(rows):
        shift = (number - (len(rows) - 1) / 2) * 0.7 / max(1, len(rows))
        places = [i + shift for i, name in enumerate(names) if name in row.figures]
        _points(axis, row, places, [row.figures[name] for name in names if name in row.figures], _colour(comparison, row))
    axis.axhline(0.5, color="grey", ls=":", lw=1)
    axis.set_xticks(range(len(names)), [*(f"layer {layer}" for layer in layers), "all"])
    axis.set(ylabel="classifier AUC (0.5: no gap)")
    _legend(figure)
    return figure


def against_cost(comparison: Comparison, metric: str) -> Figure | None:
    """Plot a metric against each cost that differs between priors, one point per prior; steps show the best value that is
    reached at each cost (the Pareto front)."""
    costs = [cost for cost in COSTS_SHOWN if len({x.mean for _, x, _ in _both(comparison, metric, cost)}) > 1]
    if not costs:
        return None
    figure = Figure(figsize=(1 + PANEL[0] * len(costs), PANEL[1] + 0.4), layout="constrained")
    for axis, cost in zip(figure.subplots(1, len(costs), squeeze=False, sharey=True)[0], costs, strict=True):
        pairs = _both(comparison, metric, cost)
        for row, x, y in pairs:
            _points(axis, row, [x.mean], [y], _colour(comparison, row))
            axis.annotate(row.label, (x.mean, y.mean), xytext=(5, 4), textcoords="offset points", fontsize=8)
        if metric not in comparison.refused:
            best = front([(x.mean, y.mean) for _, x, y in pairs], cost, metric)
            # A prior is also available to who would spend more: steps, which pass below and beside the labels.
            steps = "steps-pre" if direction(cost) == "up" else "steps-post"
            axis.plot(*zip(*best, strict=True), color="grey", lw=1, ls="--", drawstyle=steps, zorder=0)
        axis.set_xscale(_scale([x.mean for _, x, _ in pairs]))
        axis.margins(x=0.25)
        axis.set(xlabel=f"{COSTS[cost]} {ARROWS[direction(cost) or 'down']}")
    figure.axes[0].set_ylabel(f"{in_full(title(metric))} {ARROWS[direction(metric) or 'down']}")
    return figure


def front(points: Sequence[tuple[float, float]], cost: str, metric: str) -> list[tuple[float, float]]:
    """Return the Pareto front of points (cost, metric), sorted by cost."""

    def bad(point: tuple[float, float]) -> tuple[float, float]:
        return badness(cost, point[0]) or 0.0, badness(metric, point[1]) or 0.0

    def beaten(point: tuple[float, float]) -> bool:
        mine = bad(point)
        return any(bad(p) != mine and bad(p)[0] <= mine[0] and bad(p)[1] <= mine[1] for p in points)

    return sorted(point for point in points if not beaten(point))


def stage_curves(comparison: Comparison, metrics: Sequence[str]) -> Figure | None:
    """Plot metrics after each stage, for priors with several stages; stage 0 is the Gaussian prior."""
    shown = [name for name in metrics if any(_stages(row, name) for row in comparison.priors)]
    if not shown:
        return None
    figure = Figure(figsize=(1 + PANEL[0] * len(shown), PANEL[1]), layout="constrained")
    start = next((row for row in comparison.rows if row.label.lower().startswith("gaussian")), None)
    for axis, name in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        for row in comparison.priors:
            points = _stages(row, name)
            if not points:
                continue
            if start is not None and name in start.figures:
                points = {0: start.figures[name], **points}
            _points(axis, row, list(points), list(points.values()), _colour(comparison, row), line=True)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set(xlabel="stages", ylabel=f"{title(name)} {ARROWS[direction(name) or 'down']}")
    _legend(figure)
    return figure


def read_scores(found: Mapping[str, object]) -> dict[str, Scores]:
    """Return the output of `priorkit ood --json` per out-of-distribution set; sets that cannot be read are left out."""
    results: dict[str, Scores] = {}
    for data, content in found.items():
        try:
            scores = content["scores"]  # type: ignore[index]
            results[data] = {
                (name, layers): {measure: Estimate(**estimate) for measure, estimate in measures.items()}
                for name, by_layers in scores.items()
                for layers, measures in by_layers.items()
            }
        except (KeyError, TypeError, AttributeError):
            continue
    return results


def outsider_curves(by_prior: Mapping[str, Mapping[str, Scores]], score: str = "log_ratio") -> Figure | None:
    """Plot AUROC against the top k layers for one score and the Gaussian density: one panel per set, one line per prior."""
    merged: dict[str, Scores] = {}
    for prior, results in by_prior.items():
        for data, scores in results.items():
            chosen = {(prior, layers): e for (name, layers), e in scores.items() if name == score}
            plain = {("Gaussian density", layers): e for (name, layers), e in scores.items() if name == "gaussian"}
            # The Gaussian last, so that the priors keep the colours of the other charts.
            merged[data] = {**_without(merged.get(data, {}), plain), **chosen, **plain}
    return curves(merged) if any(merged.values()) else None


_LAYER = re.compile(r"gap_auc_layer_(\d+)")


def _stages(row: Row, name: str) -> dict[int, Value]:
    found = {int(m[1]): v for key, v in row.figures.items() if (m := re.fullmatch(rf"{re.escape(name)}_stage_(\d+)", key))}
    return dict(sorted(found.items())) if len(found) > 1 else {}


def _both(comparison: Comparison, metric: str, cost: str) -> list[tuple[Row, Value, Value]]:
    rows = comparison.priors
    return [(row, row.costs[cost], row.figures[metric]) for row in rows if cost in row.costs and metric in row.figures]


def _without(scores: Scores, others: Scores) -> Scores:
    return {key: estimates for key, estimates in scores.items() if key not in others}


def _scale(values: Sequence[float]) -> str:
    """Return 'linear', or 'log' or 'symlog' if the values span more than a power of ten."""
    low, high = min(values), max(values)
    return "linear" if high <= 10 * low else "log" if low > 0 else "symlog"


def _points(axis: Axes, row: Row, x: Sequence[float], y: Sequence[Value], colour: str, *, line: bool = False) -> None:
    means, errors = [value.mean for value in y], [value.spread or 0.0 for value in y]
    style = "-" if line else "none"
    axis.errorbar(x, means, yerr=errors, label=row.label, color=colour, ls=style, marker="o", ms=5, lw=1.2)


def _colour(comparison: Comparison, row: Row) -> str:
    """Return the colour of a prior, the same in all charts; references are grey."""
    return f"C{comparison.priors.index(row) % 10}" if row.kind == "prior" else "#808080"


def _legend(figure: Figure) -> None:
    handles: dict[str, Artist] = {}
    for axis in figure.axes:
        lines, labels = axis.get_legend_handles_labels()
        handles |= dict(zip(labels, lines, strict=True))
    lines, labels = list(handles.values()), list(handles)
    widest = max(map(len, labels))
    fitting = max(1, int(figure.get_figwidth() * 11 / (widest + 6)))
    figure.legend(lines, labels, fontsize=9, loc="outside lower center", ncols=fitting, frameon=False)
