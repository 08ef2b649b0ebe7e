"""Histograms of one score on held-out data and on out-of-distribution sets."""

from collections.abc import Mapping
from math import ceil

import torch
from matplotlib.figure import Figure
from torch import Tensor

__all__ = ["score_histograms"]

BINS = 40
MAX_WIDTH = 4.0
"""The range shown, in widths of the first set around its median; scores beyond it are counted at its ends."""


def score_histograms(scores: Mapping[str, Tensor], xlabel: str) -> Figure:
    """Plot densities of scores (N,) per set: the first set is filled; each other set has a panel in front of it, two in a
    row.

    Scores beyond the bins are counted in the outermost ones, so that every histogram has area one.
    """
    first, *others = scores.items()
    title, inside = first[0], first[1].double().cpu()
    low, high = _range(inside, [values.double().cpu() for _, values in others])
    edges = torch.linspace(low, high, BINS + 1).tolist()
    panels = max(1, len(others))
    columns, rows = min(2, panels), ceil(panels / 2)
    figure = Figure(figsize=(3.7 * columns, 2.7 * rows), layout="constrained")
    axes = [figure.add_subplot(rows, columns, place) for place in range(1, panels + 1)]
    for axis in axes:
        axis.hist(inside.clamp(low, high).tolist(), bins=edges, density=True, color="#9ecae1", label=title)
        axis.set(xlabel=xlabel, ylabel="density", xlim=(low, high))
        axis.margins(y=0.3)
    for axis, (name, values) in zip(axes, others, strict=False):
        shown = values.double().cpu().clamp(low, high).tolist()
        axis.hist(shown, bins=edges, density=True, color="#d62728", histtype="step", lw=1.4, label=name)
    for axis in axes:
        axis.legend(fontsize=8, loc="upper right", frameon=False)
    return figure


def _range(inside: Tensor, others: list[Tensor]) -> tuple[float, float]:
    """Return the range of all scores, limited to MAX_WIDTH times the width of the first set."""
    width, middle = float(inside.max() - inside.min()), float(inside.median())
    everything = torch.cat([inside, *others])
    low = max(float(everything.min()), middle - MAX_WIDTH * width)
    high = min(float(everything.max()), middle + MAX_WIDTH * width)
    return (low, high) if high > low else (low - 0.5, high + 0.5)
