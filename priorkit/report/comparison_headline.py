"""A comparison in one sentence: which prior is first, by which metric, who shares its place, and the ends of the scale."""

from priorkit.report.comparison import Comparison, Row
from priorkit.report.comparison_table import deciding, shown_value
from priorkit.report.direction import badness
from priorkit.report.page_words import in_full
from priorkit.report.titles import title

__all__ = ["comparison_headline"]


def comparison_headline(comparison: Comparison) -> str:
    """Return the sentence; it says so where no metric ranks the priors."""
    name = deciding(comparison)
    if name is None:
        few = len(comparison.priors) < 2
        return (
            "One prior alone has no rank." if few else "No metric ranks these priors: the warnings and protocols tell why."
        )
    rows = [row for row in comparison.priors if row.label in comparison.ranks[name]]
    rows.sort(key=lambda row: badness(name, row.figures[name].mean) or 0.0)
    first, *others = rows
    alike = [row for row in others if comparison.leads(name, row)]
    ends = [f"{row.label} {_shown(row, name)}" for row in comparison.rows if row.kind == "reference" and name in row.figures]
    told = f"By {in_full(title(name))}, {first.label} is first with {_shown(first, name)}"
    if alike:
        told += f", and {_listed(alike, name)} cannot be told from it"
    else:
        told += f", before {_listed(others[:1], name)}"
    return f"{told}; {', '.join(ends)}." if ends else f"{told}."


def _listed(rows: list[Row], name: str) -> str:
    told = [f"{row.label} with {_shown(row, name)}" for row in rows]
    return " and ".join([", ".join(told[:-1]), told[-1]]) if len(told) > 1 else told[0]


def _shown(row: Row, name: str) -> str:
    return shown_value(name, row.figures[name])
