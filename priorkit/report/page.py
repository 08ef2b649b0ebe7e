"""A self-contained page: templates, styles and a few lines of script, without external resources."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from priorkit.report.comparison import Comparison, Row, Value
from priorkit.report.comparison_table import COSTS, EVERY, columns, deciding, heading, shown_cost, shown_rank, shown_value
from priorkit.report.page_words import in_full

__all__ = ["Chart", "Grid", "Picture", "Section", "comparison_grid", "render"]

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Picture:
    """An image with its title."""

    title: str
    uri: str
    note: str = ""
    wide: bool = False
    """True for images that need the page's width."""
    parts: Sequence[str] = ()
    """The panels of a wide image, which narrow screens show below one another."""


@dataclass(frozen=True)
class Chart:
    """An SVG element with its description."""

    title: str
    svg: str
    narrow: str = ""
    """The same for narrow screens; empty if `svg` is narrow."""


@dataclass(frozen=True)
class Cell:
    """The text of a table's cell, the value it is sorted by, and a line below the text."""

    text: str
    value: float | None = None
    best: bool = False
    title: str = ""
    note: str = ""


@dataclass(frozen=True)
class Grid:
    """A table: its first column names the rows."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    sortable: bool = False

    @property
    def numeric(self) -> list[bool]:
        """Return which columns are numeric."""
        return [any(row[column].value is not None for row in self.rows) for column in range(len(self.head))]

    @classmethod
    def of_text(cls, head: Sequence[str], rows: Sequence[Sequence[str]]) -> "Grid":
        """Return a table of text."""
        return cls(head, [[Cell(text) for text in row] for row in rows])


@dataclass(frozen=True)
class Section:
    """A heading and its contents; with `folded` a reader opens them."""

    title: str
    intro: str = ""
    grid: Grid | None = None
    pictures: Sequence[Picture] = ()
    charts: Sequence[Chart] = ()
    folded: bool = False
    notes: Sequence[str] = field(default_factory=tuple)
    legend: Mapping[str, str] = field(default_factory=dict)
    """What the table's headings mean."""

    @property
    def anchor(self) -> str:
        """The section's identifier in the page."""
        return "-".join("".join(c if c.isalnum() else " " for c in self.title.lower()).split())


def render(
    title: str,
    facts: Mapping[str, str],
    sections: Sequence[Section],
    warnings: Sequence[str] = (),
    *,
    headline: str = "",
    remark: str = "",
) -> str:
    """Return the page as text: the headline and a remark on it, the facts, the sections; everything except the charts is
    escaped."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    # Charts are SVG made here: their texts were escaped when they were drawn.
    environment.filters["drawn"] = Markup
    style, script = ((TEMPLATES / name).read_text() for name in ("page.css", "sort.js"))
    template = environment.get_template("page.html.j2")
    shown = [section for section in sections if section.grid or section.pictures or section.charts or section.notes]
    return template.render(
        title=title, headline=headline, remark=remark, facts=facts, sections=shown, warnings=warnings,
        style=Markup(style), script=Markup(script),
    )  # fmt: skip


def comparison_grid(comparison: Comparison, patterns: Sequence[str] = EVERY, costs: Sequence[str] = tuple(COSTS)) -> Grid:
    """Return the metrics and costs of each row in one sortable table."""
    names = columns(comparison, patterns)
    costs = [name for name in costs if any(name in row.costs for row in comparison.rows)]
    decides = deciding(comparison)
    place = ["rank"] if decides else []
    head = ["prior", *place, *(in_full(heading(name)) for name in names), *(heading(name, COSTS[name]) for name in costs)]
    rows = []
    for row in comparison.rows:
        if row.kind == "failed":
            rows.append([Cell(row.label), Cell(f"failed: {row.problem}"), *[Cell("")] * (len(head) - 2)])
            continue
        figures = [_cell(comparison, row, name, row.figures.get(name), shown_value) for name in names]
        spent = [_cell(comparison, row, name, row.costs.get(name), shown_cost) for name in costs]
        ranks = [_place(comparison, decides, row)] if decides else []
        rows.append([Cell(row.label, title=row.problem), *ranks, *figures, *spent])
    return Grid(head, rows, sortable=True)


def _cell(comparison: Comparison, row: Row, name: str, value: Value | None, show: object) -> Cell:
    if value is None:
        return Cell("")
    best = row.kind == "prior" and comparison.leads(name, row)
    told = shown_cost(name, value, learns=row.learns) if show is shown_cost else shown_value(name, value)
    return Cell(told, value.mean, best, f"{name}: {value.protocol}" if value.protocol else "")


def _place(comparison: Comparison, decides: str, row: Row) -> Cell:
    """Return the row's rank; its tip says how far it is behind the first of its place."""
    rank = comparison.rank(decides, row)
    if rank is None:
        return Cell("")
    told = ""
    if rank.behind is not None:
        half = "" if rank.behind.half_width is None else f" ± {rank.behind.half_width:.2g}"
        told = f"{decides}: {rank.behind.difference:.3g}{half} worse than the first of this place ({rank.behind.how})"
    return Cell(shown_rank(comparison, row), rank.place, title=told)
