"""Output of out-of-distribution detection: tables of AUROC per layer and of all measures, and the L > k curves."""

import re
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from priorkit.metrics.detection import MEASURES, Estimate
from priorkit.report.order import last_number

__all__ = ["curves", "layer_table", "measure_table", "ordered_layers"]

Scores = Mapping[tuple[str, str], Mapping[str, Estimate]]
"""Estimates by (name of the score, layers)."""

MAX_COLUMNS = 7
TITLES = {"auroc": "AUROC", "auprc": "AUPRC", "fpr95": "FPR at 95 %", "ks": "KS", "cohen_d": "Cohen's d"}


def ordered_layers(scores: Scores) -> list[str]:
    """Return the choices of layers that occur: top:1, top:2, ..., all; then single layers and others."""
    names = dict.fromkeys(layers for _, layers in scores)
    return sorted(names, key=lambda name: (_rank(name), last_number(name), name))


def layer_table(data: str, scores: Scores) -> Table:
    """Return a table of AUROC: one row per score, one column per choice of layers; for deep hierarchies seven of them."""
    layers = ordered_layers(scores)
    if len(layers) > MAX_COLUMNS:
        last = len(layers) - 1
        layers = [layers[round(i * last / (MAX_COLUMNS - 1))] for i in range(MAX_COLUMNS)]
    table = Table(title=f"AUROC against {data} (0.5: chance)", title_justify="left", box=None, pad_edge=False)
    table.add_column("score", no_wrap=True)
    for name in layers:
        table.add_column(name, justify="right", no_wrap=True)
    for score in dict.fromkeys(name for name, _ in scores):
        cells = [scores.get((score, name)) for name in layers]
        table.add_row(score, *("" if cell is None else _shown(cell["auroc"]) for cell in cells))
    return table


def measure_table(data: str, scores: Scores) -> Table:
    """Return a table of all measures with half of their 95 % intervals, for the scores of all layers and the likelihood
    ratios."""
    table = Table(title=f"all measures against {data}", title_justify="left", box=None, pad_edge=False)
    table.add_column("score", no_wrap=True)
    for measure in MEASURES:
        table.add_column(TITLES[measure], justify="right", no_wrap=True)
    for (name, layers), estimates in scores.items():
        if layers == "all" or name == "llr":
            title = name if layers == "all" else f"{name} {layers}"
            table.add_row(title, *(_shown(estimates[measure]) for measure in MEASURES))
    return table


def curves(results: Mapping[str, Scores]) -> Figure:
    """Plot AUROC against k of top:k: one panel per out-of-distribution set, one line per score, with the bootstrap
    interval."""
    figure = Figure(figsize=(1.5 + 4.2 * len(results), 4.2), layout="constrained")
    axes = figure.subplots(1, len(results), squeeze=False, sharey=True)[0]
    names = list(dict.fromkeys(name for scores in results.values() for name, _ in scores))
    for axis, (data, scores) in zip(axes, results.items(), strict=True):
        depth = 1 + max((last_number(layers) for _, layers in scores if layers.startswith("top:")), default=0)
        for number, name in enumerate(names):
            points = {_place(layers, depth): found["auroc"] for (own, layers), found in scores.items() if own == name}
            points = {place: estimate for place, estimate in sorted(points.items()) if place > 0}
            _line(axis, name, points, f"C{number % 10}", "-" if number < 10 else "--")
        axis.axhline(0.5, color="grey", ls=":", lw=1)
        axis.set(title=data, xlabel="top k layers", ylim=(-0.03, 1.03))
        axis.set_xticks([*range(1, depth), depth], [*map(str, range(1, depth)), "all"])
    axes[0].set_ylabel("AUROC")
    axes[-1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _line(axis: Axes, name: str, points: Mapping[int, Estimate], colour: str, style: str) -> None:
    places, found = list(points), list(points.values())
    errors = [[e.value - e.low for e in found], [e.high - e.value for e in found]]
    errors = [[max(0.0, error) for error in side] for side in errors]
    axis.errorbar(places, [e.value for e in found], yerr=errors, label=name, color=colour, ls=style, marker="o", lw=1.2)


def _place(layers: str, depth: int) -> int:
    """Return the position of a choice of layers on the axis of k; 0 if it has none."""
    found = re.fullmatch(r"top:(\d+)", layers)
    return int(found[1]) if found else depth if layers == "all" else 0


def _rank(layers: str) -> int:
    return 0 if layers.startswith("top:") else 1 if layers == "all" else 2


def _shown(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} ±{(estimate.high - estimate.low) / 2:.2f}"
