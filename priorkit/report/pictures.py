"""Charts of a run: sheets of images, scatter plots of points, losses of stages, chains."""

import io
import re
from collections.abc import Mapping, Sequence
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from priorkit.core import Chain
from priorkit.errors import UsageError
from priorkit.report.order import last_number
from priorkit.report.parting import heldout_losses
from priorkit.runtime.atomic_files import write_bytes

__all__ = ["DPI", "PANEL", "diagnostics", "losses", "panels", "sheet", "write_figure"]

WATCHED = {
    "acceptance": "acceptance",
    "displacement": "displacement of a coordinate",
    "energy": "log density, up to a constant",
}
"""Diagnostics that are plotted, and their titles."""
PANEL = 4.0
"""Width of a panel in inches."""
DPI = 110
"""Pixels per inch of written pictures."""
TALLEST = 500.0
"""Largest height in inches; matplotlib draws at most 65,535 pixels."""


def sheet(images: Tensor, columns: int | None = None) -> Tensor:
    """Return images (N, C, H, W) in [0, 1] as one image (H', W', C), separated by one grey pixel."""
    n = len(images)
    columns = columns or ceil(sqrt(n))
    rows = ceil(n / columns)
    padded = torch.nn.functional.pad(images.detach().cpu().float().clamp(0, 1), (1, 1, 1, 1), value=0.5)
    blank = padded.new_full((rows * columns - n, *padded.shape[1:]), 0.5)
    return rearrange(torch.cat([padded, blank]), "(r c) k h w -> (r h) (c w) k", c=columns)


def panels(parts: Mapping[str, Tensor], columns: int | None = None) -> Figure:
    """Plot images (N, C, H, W) or points (N, 2) side by side with their titles."""
    sheets = {title: sheet(data, columns) for title, data in parts.items() if data.ndim == 4}
    tallest = max((picture.shape[0] / picture.shape[1] for picture in sheets.values()), default=1.0)
    if PANEL * tallest > TALLEST:
        raise UsageError("the picture would be too tall; use fewer rows, or write an array with --out NAME.npy.")
    figure = Figure(figsize=(PANEL * len(parts), PANEL * tallest + 0.3), layout="constrained")
    for axis, (title, data) in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts.items(), strict=True):
        axis.set_title(title)
        if (picture := sheets.get(title)) is not None:
            axis.imshow(picture.numpy().squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axis.set_axis_off()
        else:
            points = data.detach().cpu()
            axis.scatter(points[:, 0], points[:, 1], s=2, alpha=0.3, linewidths=0)
            axis.set_aspect("equal")
    _share_limits(figure, parts)
    return figure


def losses(records: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Plot the loss of each prior stage against its steps, with a thin line per layer if the loss decomposes.

    For a stage with several objectives, as in joint training, the generator's is left out. The held-out loss is drawn where
    it was computed, on an axis of its own if it has another scale; a vertical line marks its lowest, whose weights the stage
    ends with.
    """
    stages = sorted({str(row["phase"]) for row in records if _is_stage(row) and _loss_names(row)}, key=last_number)
    if not stages:
        return None
    figure = Figure(figsize=(1.5 + 3.2 * len(stages), 3.6), layout="constrained")
    for axis, stage in zip(figure.subplots(1, len(stages), squeeze=False, sharey=True)[0], stages, strict=True):
        rows = [record for record in records if record["phase"] == stage and _loss_names(record)]
        steps = [row["step"] for row in rows]
        names = _loss_names(rows[0])
        for key in sorted(key for key in rows[0] if re.search(r"(^|\.)layer\.\d+$", key)):
            axis.plot(steps, _column(rows, key), lw=0.8, label=key.replace(".", " "))
        for name in names:
            color = "black" if len(names) == 1 else None
            axis.plot(steps, _column(rows, name), color=color, lw=1.6, label=name.replace(".", " "))
        for key in [key for key in rows[-1] if re.search(r"(^|\.)chance$", key)]:
            axis.axhline(rows[-1][key], color="grey", ls=":", lw=1, label="chance")
        _plot_heldout(axis, heldout_losses(records, stage))
        axis.set(title=stage, xlabel="step")
    figure.axes[0].set_ylabel("loss, nats")
    axis.legend(fontsize=7)
    return figure


def _plot_heldout(axis: Axes, losses: Mapping[int, float]) -> None:
    """Plot a stage's held-out loss and mark its lowest; on an axis of its own if its values are far from the others."""
    if not losses:
        return
    low, high = axis.get_ylim()
    near = low - (high - low) <= min(losses.values()) and max(losses.values()) <= high + (high - low)
    own = axis if near else axis.twinx()
    own.plot(list(losses), list(losses.values()), color="tab:red", lw=1.4, marker=".", label="held-out loss")
    if not near:
        own.set_ylabel("held-out loss", color="tab:red")
    axis.axvline(min(losses, key=losses.__getitem__), color="tab:red", ls="--", lw=1, label="least held-out loss")


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """Return a metric of each row, NaN if a row has none."""
    return [row.get(name, float("nan")) for row in rows]


def _is_stage(record: Mapping[str, Any]) -> bool:
    """Return whether a prior is trained in this record's phase, alone or with the generator."""
    return str(record["phase"]).startswith(("prior.", "joint."))


def _loss_names(record: Mapping[str, Any]) -> list[str]:
    """Return 'loss', or NAME.loss of each objective except the generator's."""
    names = [key for key in record if key == "loss" or key.endswith(".loss")]
    return sorted(name for name in names if name != "generator.loss")


def diagnostics(chains: Sequence[Chain]) -> Figure | None:
    """Plot acceptance, displacement and mean log density against the steps, one line per chain."""
    shown = {
        title: lines
        for name, title in WATCHED.items()
        if (lines := [chain.diagnostics[name] for chain in chains if len(chain.diagnostics.get(name, ())) > 1])
    }
    if not shown:
        return None
    figure = Figure(figsize=(1 + 3.4 * len(shown), 3.2), layout="constrained")
    for axis, (title, lines) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown.items(), strict=True):
        for number, line in enumerate(lines, start=1):
            axis.plot(range(1, len(line) + 1), line.cpu(), lw=1.2, label=f"chain {number}")
        axis.set(title=title, xlabel="step")
    if len(chains) > 1:
        figure.axes[-1].legend(fontsize=7)
    return figure


def write_figure(figure: Figure, path: Path) -> None:
    """Write a PNG or SVG file, by the suffix of the name."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:].lower(), dpi=DPI)
    write_bytes(path, buffer.getvalue())


def _share_limits(figure: Figure, parts: Mapping[str, Tensor]) -> None:
    """Give all panels of points the limits of the first one, so that outliers are visible."""
    first = next(iter(parts.values()))
    if first.ndim == 2:
        reach = 1.15 * first.abs().max().item()
        for axis in figure.axes:
            axis.set(xlim=(-reach, reach), ylim=(-reach, reach))
