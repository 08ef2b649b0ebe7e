"""The table of the prior hole per layer, printed by `priorkit evaluate`."""

import re
from collections.abc import Mapping
from typing import Literal

from rich.table import Table

from priorkit.core.metric import Metric

__all__ = ["NAMES", "Kind", "hole_rows", "hole_table"]

Kind = Literal["top", "only", "prior_top"]
NAMES = ("hole_top_", "hole_only_", "hole_shuffled", "hole_prior_top_")
"""Prefixes of the metrics of the group `hole`."""
NAME = re.compile(r"hole_(top|only|prior_top)_(\d+)")


def hole_rows(figures: Mapping[str, Metric]) -> dict[Kind, dict[int, Metric]]:
    """Return kind of metric -> number of top layers k, or index of the layer -> metric; empty if there are none."""
    found: dict[Kind, dict[int, Metric]] = {"top": {}, "only": {}, "prior_top": {}}
    for name, figure in figures.items():
        if match := NAME.fullmatch(name):
            found[match[1]][int(match[2])] = figure  # type: ignore[index]
    return {kind: dict(sorted(rows.items())) for kind, rows in found.items() if rows}


def hole_table(figures: Mapping[str, Metric]) -> Table | None:
    """Return one row per layer, top first: it and those above from the posterior or the prior, and it alone from N(0, I)."""
    rows = hole_rows(figures)
    if not rows:
        return None
    title = "hole by layer: fd to held-out images\n(± half a 95 % interval; layer 0 is the top)"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("layers", no_wrap=True)
    heads: dict[Kind, str] = {
        "top": "posterior,\nbelow N(0, I)",
        "prior_top": "learned prior,\nbelow N(0, I)",
        "only": "the last one N(0, I),\nothers posterior",
    }
    shown = [kind for kind in heads if kind in rows]
    for kind in shown:
        table.add_column(heads[kind], justify="right", no_wrap=True)
    for k in rows["top"]:
        # The row of the top k layers ends with layer k - 1.
        places = {kind: k - 1 if kind == "only" else k for kind in shown}
        table.add_row(_layers(k), *(_show(rows[kind].get(places[kind])) for kind in shown))
    if "hole_shuffled" in figures:
        table.add_row("shuffled", _show(figures["hole_shuffled"]))
    return table


def _layers(k: int) -> str:
    return "none" if k == 0 else "0" if k == 1 else f"0 to {k - 1}"


def _show(figure: Metric | None) -> str:
    if figure is None:
        return ""
    return f"{figure.value:.3g}" + ("" if figure.spread is None else f" ±{figure.spread:.2g}")
