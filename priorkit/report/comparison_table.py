"""The tables of a comparison: metrics, then costs; the best value is bold."""

from collections.abc import Callable, Sequence
from math import floor, isfinite, log10

from rich.table import Table
from rich.text import Text

from priorkit.report.comparison import Comparison, Row, Value
from priorkit.report.direction import ARROWS, direction

__all__ = ["COSTS", "columns", "comparison_tables", "shown_cost", "shown_value"]

COSTS = {
    "seconds": "training s",
    "steps": "steps",
    "samples_per_second": "samples/s",
    "calls_per_sample": "calls",
    "parameters": "parameters",
    "peak_memory": "peak MiB",
}
"""Costs and their headings: training of the prior only; network calls per sample."""
FIRST = (
    *("share_closed", "fd_", "fid", "kid", "nll", "gap_auc", "elbo_prior_bpd", "elbo_prior_nats"),
    *("energy_distance", "sliced_wasserstein"),
)
"""Prefixes of the prior's metrics that have a column."""


def columns(comparison: Comparison) -> list[str]:
    """Return the metrics to show, in order: nats only if bits per dimension are not defined."""
    names = [name for start in FIRST for name in comparison.names(start) if direction(name) is not None]
    shown = dict.fromkeys(names)
    return [name for name in shown if not (name.endswith("_nats") and name.replace("_nats", "_bpd") in shown)]


def comparison_tables(comparison: Comparison) -> list[Table]:
    """Return two tables: quality and cost."""
    names = columns(comparison)
    quality = _table("prior against prior (best in bold)", [_heading(name) for name in names])
    for row in comparison.rows:
        if row.kind == "failed":
            quality.add_row(Text(f"{row.label}: failed, {row.problem}", style="red"))
        else:
            quality.add_row(row.label, *_cells(comparison, row, names, row.figures.get, shown_value))
    found = [name for name in COSTS if any(name in row.costs for row in comparison.rows)]
    cost = _table("cost", [_heading(name, COSTS[name]) for name in found])
    for row in comparison.priors:
        cost.add_row(row.label, *_cells(comparison, row, found, row.costs.get, shown_cost))
    return [quality, cost]


def shown_value(name: str, value: Value) -> str:
    """Return a metric with its spread, both to the spread's second digit; four digits without a spread."""
    if not value.spread or not isfinite(value.spread):
        return f"{value.mean:.4g}"
    places = max(0, 1 - floor(log10(value.spread)))
    return f"{value.mean:,.{places}f} ±{value.spread:,.{places}f}"


def shown_cost(name: str, value: Value) -> str:
    """Return a cost in a readable unit."""
    mean = value.mean / 2**20 if name == "peak_memory" else value.mean
    return f"{mean:,.0f}" if mean >= 100 or mean == int(mean) else f"{mean:.3g}"


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("prior")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _heading(name: str, title: str = "") -> str:
    way = direction(name)
    return f"{title or name} {ARROWS[way]}" if way else title or name


def _cells(
    comparison: Comparison,
    row: Row,
    names: Sequence[str],
    find: Callable[[str], Value | None],
    show: Callable[[str, Value], str],
) -> list[Text]:
    cells = []
    for name in names:
        value = find(name)
        best = value is not None and row.kind == "prior" and comparison.best(name) is row
        cells.append(Text("" if value is None else show(name, value), style="bold" if best else ""))
    return cells
