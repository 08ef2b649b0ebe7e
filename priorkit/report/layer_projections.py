"""Prior against posterior in each layer, on the first two principal directions of the posterior samples."""

from collections.abc import Mapping, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

__all__ = ["layer_projections", "principal_plane"]

PANEL = 3.6
CELLS = 22
"""Hexagons across a panel."""
BINS = 40
REACH = 1.2
"""Size of a panel relative to the outermost posterior sample; the few prior samples beyond it are left out."""


def principal_plane(points: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (D,) and the first two principal directions (D, 2) of points (N, D), with N and D at least 2.

    The largest entry of a direction in absolute value is positive, so that charts are the same on all machines.
    """
    points = points.double()
    mean = points.mean(0)
    axes = torch.linalg.svd(points - mean, full_matrices=False).Vh[:2].T
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    return mean, axes * largest.sign()


def layer_projections(posterior: Mapping[str, Tensor], priors: Mapping[str, Sequence[Tensor]]) -> Figure:
    """Plot a row per prior and a column per layer: the density of prior samples, the posterior samples and both marginals.

    `posterior` has each layer's title and points (N, D_i); `priors` each prior's title and its samples (M, D_i) of the same
    layers. All panels of a column share the plane and the limits of the posterior samples.
    """
    figure = Figure(figsize=(PANEL * len(posterior) + 0.3, PANEL * len(priors) + 0.3), layout="constrained")
    grid = figure.subplots(len(priors), len(posterior), squeeze=False)
    for column, (layer, points) in enumerate(posterior.items()):
        mean, axes = principal_plane(points.cpu())
        seen = (points.cpu().double() - mean) @ axes
        for row, (prior, draws) in enumerate(priors.items()):
            axis = grid[row][column]
            _panel(axis, seen, (draws[column].cpu().double() - mean) @ axes)
            axis.set_title(f"{layer}: {prior}", fontsize=10)
    handles = [_handle("o", "#d62728", "posterior points"), _handle("h", "#6baed6", "draws of the prior")]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _panel(axis: Axes, seen: Tensor, drawn: Tensor) -> None:
    reach = REACH * float(seen.abs().max())
    box = (-reach, reach, -reach, reach)
    axis.hexbin(
        drawn[:, 0], drawn[:, 1], gridsize=CELLS, extent=box, cmap="Blues", mincnt=1, linewidths=0.1, rasterized=True
    )
    axis.scatter(seen[:, 0], seen[:, 1], s=3, color="#d62728", alpha=0.5, linewidths=0, rasterized=True)
    axis.set(xlim=box[:2], ylim=box[2:], aspect="equal", xticks=[], yticks=[])
    for direction, frame in enumerate(((0, 1.01, 1, 0.15), (1.01, 0, 0.15, 1))):
        side = axis.inset_axes(frame)
        for values, style in ((drawn, {"color": "#6baed6", "alpha": 0.7}), (seen, {"color": "#d62728", "histtype": "step"})):
            side.hist(
                values[:, direction].tolist(), bins=BINS, range=box[:2], density=True,
                orientation="horizontal" if direction else "vertical", **style,
            )  # fmt: skip
        side.set(**({"ylim": box[:2]} if direction else {"xlim": box[:2]}))
        side.set_axis_off()


def _handle(marker: str, colour: str, label: str) -> Line2D:
    return Line2D([], [], marker=marker, color=colour, ls="none", label=label)
