"""compare.json and compare.csv."""

import csv
import io
from pathlib import Path

from priorkit.report.comparison import Comparison
from priorkit.report.direction import direction
from priorkit.runtime.atomic_files import write_bytes, write_json

__all__ = ["write_record"]

HEAD = ("prior", "kind", "metric", "value", "spread", "spread_of", "runs", "better", "best", "rank", "behind", "protocol")


def write_record(comparison: Comparison, out: Path) -> None:
    """Write both files: the same metrics, the second with one line per row and metric."""
    write_json(out / "compare.json", comparison.as_dict())
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEAD)
    for row in comparison.rows:
        for name, value in {**row.figures, **row.costs}.items():
            rank = comparison.rank(name, row)
            behind = None if rank is None or rank.behind is None else rank.behind.difference
            writer.writerow(
                (row.label, row.kind, name, value.mean, value.spread, value.spread_of, value.runs, direction(name),
                 comparison.best(name) is row, rank, behind, value.protocol)
            )  # fmt: skip
        if row.kind == "failed":
            writer.writerow((row.label, row.kind, *[None] * 9, row.problem))
    write_bytes(out / "compare.csv", text.getvalue().encode())
