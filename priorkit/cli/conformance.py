"""Output of `priorkit plugins check`."""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from priorkit.registry.entry import Entry
    from priorkit.testing import Result

__all__ = ["print_results", "results_as_json"]


def print_results(entry: "Entry", results: Iterable["Result"]) -> int:
    """Print one line per check as soon as it ends, with the reason below it if it did not pass; returns the number of
    failures."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    typer.echo(f"{entry.key} of {entry.origin}")
    for result in results:
        counts[result.outcome] += 1
        typer.echo(f"  {result.outcome:8}{result.check.name:46}{result.check.meaning}")
        if result.reason:
            typer.echo(f"          {result.reason}")
    typer.echo(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} not applicable")
    return counts["failed"]


def results_as_json(entry: "Entry", results: Iterable["Result"]) -> int:
    """Print one JSON object with all results; returns the number of failures."""
    listed = [
        {"check": result.check.name, "meaning": result.check.meaning, "outcome": result.outcome, "reason": result.reason}
        for result in results
    ]
    typer.echo(json.dumps({"plugin": entry.key, "distribution": entry.distribution, "checks": listed}))
    return sum(item["outcome"] == "failed" for item in listed)
