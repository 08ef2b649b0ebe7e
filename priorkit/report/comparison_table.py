"""The tables of a comparison: metrics, then costs; the best values are bold."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from math import floor, isfinite, log10

from rich.table import Table
from rich.text import Text

from priorkit.report.comparison import Comparison, Row, Value
from priorkit.report.direction import ARROWS, badness, direction, ranked
from priorkit.report.titles import title

__all__ = [
    "COSTS",
    "EVERY",
    "FITTED",
    "MAIN",
    "columns",
    "comparison_tables",
    "deciding",
    "heading",
    "in_order",
    "shown_cost",
    "shown_rank",
    "shown_value",
]

COSTS = {
    "seconds": "training s",
    "steps": "steps",
    "samples_per_second": "samples/s",
    "calls_per_sample": "calls",
    "parameters": "parameters",
    "peak_memory": "peak MiB",
}
"""Costs and their headings: training of the prior only; network calls per sample."""
QUALITY = (r"fd_\w+_heldout", "nll", "elbo_prior_nats", "copied")
"""The prior's metrics with a column in the first table, in order, the one that decides the rank first."""
FURTHER = {
    "fidelity and diversity among held-out images": (r"precision_\w+", r"recall_\w+", r"density_\w+", r"coverage_\w+"),
    "calibrated, and by kernel": (r"clipped_\w+", r"kd_\w+"),
    "gaps, copying, distances to training images": (
        *("share_closed", "gap_auc", "energy_distance", "sliced_wasserstein", "c_t", "fid", "kid", "cmmd"),
        r"fd_\w+(?<!_heldout)",
    ),
}
"""Those of the other tables, by title; few in each, so that they fit into 80 columns."""
EVERY = (*QUALITY, *(pattern for patterns in FURTHER.values() for pattern in patterns))
MAIN = (*QUALITY[:2], "share_closed", "gap_auc", "elbo_prior_nats", "copied")
"""Those of the first table of a page."""
WIDEST = 14
"""Longest line of a heading in the terminal."""
UNRANKED = "not ranked"
FITTED = "fitted"
"""In place of the number of trained parameters of a prior that has none and yet learns."""

MAX_PLACES = 4


def columns(comparison: Comparison, patterns: Sequence[str] = EVERY) -> list[str]:
    """Return the metrics to show, in order."""
    names = comparison.names()
    return list(dict.fromkeys(name for pattern in patterns for name in names if re.fullmatch(pattern, name)))


def in_order(comparison: Comparison) -> list[Row]:
    """Return the rows: priors by rank, then by mean, those without a rank after them; failed ones; then the references,
    posterior samples last."""
    name = deciding(comparison)

    def order(row: Row) -> tuple[int, int, float]:
        if row.kind != "prior":
            return 1 + (row.kind == "reference") + row.label.startswith("posterior"), 0, 0.0
        rank = None if name is None else comparison.rank(name, row)
        if name is None or rank is None:
            return 0, len(comparison.rows) + 1, 0.0
        return 0, rank.place, badness(name, row.figures[name].mean) or 0.0

    return sorted(comparison.rows, key=order)


def deciding(comparison: Comparison) -> str | None:
    """Return the metric that decides the rank: the first column whose rows have places."""
    return next((name for name in columns(comparison) if name in comparison.ranks), None)


def comparison_tables(comparison: Comparison) -> list[Table]:
    """Return the tables of quality, of further metrics, where any row has one, and of cost."""
    first = "prior against prior (best in bold, with those that cannot be told from it)"
    tables = [_figures(comparison, first, columns(comparison, QUALITY), deciding(comparison))]
    for told, patterns in FURTHER.items():
        if names := columns(comparison, patterns):
            tables.append(_figures(comparison, told, names, None))
    found = [name for name in COSTS if any(name in row.costs for row in comparison.rows)]
    cost = _table("cost", [heading(name, COSTS[name]) for name in found])
    for row in in_order(comparison):
        if row.kind == "prior":
            show = partial(shown_cost, learns=row.learns)
            cost.add_row(row.label, *_cells(comparison, row, found, row.costs.get, show))
    return [*tables, cost]


def _figures(comparison: Comparison, told: str, names: Sequence[str], decides: str | None) -> Table:
    table = _table(told, [*(["rank"] if decides else []), *(_broken(heading(name)) for name in names)])
    for row in in_order(comparison):
        if row.kind == "failed":
            table.add_row(Text(f"{row.label}: failed, {row.problem}", style="red"))
        else:
            place = [shown_rank(comparison, row)] if decides else []
            table.add_row(row.label, *place, *_cells(comparison, row, names, row.figures.get, shown_value))
    return table


def shown_rank(comparison: Comparison, row: Row) -> str:
    """Return the row's place by the deciding metric, with '=' if it shares it; empty for references."""
    decides = deciding(comparison)
    rank = None if decides is None else comparison.rank(decides, row)
    return "" if rank is None else str(rank)


def shown_value(name: str, value: Value) -> str:
    """Return a metric with its spread, both to the spread's second digit, but at most to the fourth place; four digits
    without a spread."""
    if not value.spread or not isfinite(value.spread):
        return f"{value.mean:.4g}"
    places = max(0, 1 - floor(log10(value.spread)))
    if places > MAX_PLACES and abs(value.mean) >= 0.01:
        # Two runs that nearly agree by chance would fill the table with digits.
        return f"{value.mean:.{MAX_PLACES}f} ±{value.spread:.1g}"
    return f"{value.mean:,.{places}f} ±{value.spread:,.{places}f}"


def shown_cost(name: str, value: Value, *, learns: bool = True) -> str:
    """Return a cost in a readable unit; of a prior that `learns` without gradients, that in place of 0 parameters."""
    if name == "parameters" and value.mean == 0 and learns:
        return FITTED
    mean = value.mean / 2**20 if name == "peak_memory" else value.mean
    return f"{mean:,.0f}" if mean >= 100 or mean == int(mean) else f"{mean:.3g}"


def _table(name: str, headings: Sequence[str]) -> Table:
    table = Table(title=name, title_justify="left", box=None, pad_edge=False)
    table.add_column("prior", no_wrap=True)
    for each in headings:
        table.add_column(each, justify="right", no_wrap=True)
    return table


def heading(name: str, cost: str = "") -> str:
    """Return a column's heading, of a metric or of a cost with that title: the better direction, and whether it is
    ranked."""
    way = direction(name)
    shown = cost or title(name)
    told = f"{shown} {ARROWS[way]}" if way else shown
    return told if cost or ranked(name) else f"{told} ({UNRANKED})"


def _broken(text: str) -> str:
    """Return a heading in lines, broken between words and before a bracket; an arrow stays with the word before it."""
    name, _, rest = text.partition(" (")
    lines = [""]
    for part in re.findall(r"\S+(?: [↓↑]| → 0\.5)?", name):
        joined = f"{lines[-1]} {part}".strip()
        lines = [*lines[:-1], joined] if not lines[-1] or len(joined) <= WIDEST else [*lines, part]
    return "\n".join([*lines, f"({rest}"] if rest else lines)


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
        best = value is not None and row.kind == "prior" and comparison.leads(name, row)
        cells.append(Text("" if value is None else show(name, value), style="bold" if best else ""))
    return cells
