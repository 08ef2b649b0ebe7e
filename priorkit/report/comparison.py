"""What a comparison says: rows of metrics and costs, and what may not be compared."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from priorkit.report.direction import badness

__all__ = ["Comparison", "Row", "Value"]


@dataclass(frozen=True)
class Value:
    """One metric over the runs of a row."""

    mean: float
    spread: float | None
    spread_of: Literal["runs", "figure"] | None
    """The standard deviation over the runs or, with a single one, the metric's own (see its protocol)."""
    runs: int
    protocol: str = ""

    def as_dict(self) -> dict[str, Any]:
        """All fields."""
        return dict(vars(self))


@dataclass(frozen=True)
class Row:
    """A prior, or what it is held against."""

    label: str
    kind: Literal["prior", "reference", "failed"]
    figures: Mapping[str, Value] = field(default_factory=dict)
    """Of the learned prior, by the metric's name, and those after each stage, NAME_stage_K."""
    costs: Mapping[str, Value] = field(default_factory=dict)
    runs: tuple[str, ...] = ()
    """Their names."""
    problem: str = ""
    """Why a run of it failed, if one did."""


@dataclass(frozen=True)
class Comparison:
    """All rows: the references first."""

    rows: tuple[Row, ...]
    setting: Mapping[str, str]
    """What all runs share, in words: data, backbone, samples, budget, spread."""
    warnings: tuple[str, ...] = ()
    refused: frozenset[str] = frozenset()
    """Metrics whose protocols differ between rows: shown, but no row is called the best."""

    @property
    def priors(self) -> tuple[Row, ...]:
        """The rows that have metrics of a prior."""
        return tuple(row for row in self.rows if row.kind == "prior")

    def names(self, *beginnings: str) -> list[str]:
        """Metrics of which at least one row has a value, without those of stages and layers."""
        every = dict.fromkeys(name for row in self.rows for name in row.figures)
        bare = (name for name in every if "_stage_" not in name and "_layer_" not in name and "_top_" not in name)
        return [name for name in bare if name.startswith(beginnings)] if beginnings else list(bare)

    def best(self, name: str) -> Row | None:
        """The prior whose mean is best; None where that is not asked, not known or not allowed."""
        ranked = [
            (bad, row)
            for row in self.priors
            if (value := row.figures.get(name) or row.costs.get(name)) is not None
            and (bad := badness(name, value.mean)) is not None
        ]
        if name in self.refused or len(ranked) < 2:
            return None
        return min(ranked, key=lambda pair: pair[0])[1]

    def as_dict(self) -> dict[str, Any]:
        """As compare.json holds it."""
        return {
            "setting": dict(self.setting),
            "warnings": list(self.warnings),
            "not_compared": sorted(self.refused),
            "rows": [_row(row) for row in self.rows],
        }


def _row(row: Row) -> dict[str, Any]:
    return {
        "prior": row.label,
        "kind": row.kind,
        "runs": list(row.runs),
        "problem": row.problem or None,
        "metrics": {name: value.as_dict() for name, value in row.figures.items()},
        "cost": {name: value.as_dict() for name, value in row.costs.items()},
    }
