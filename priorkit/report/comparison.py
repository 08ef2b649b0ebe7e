"""The result of a comparison: rows of metrics and costs, and which metrics must not be compared."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from priorkit.report.direction import badness, ranked
from priorkit.report.ranking import Rank

__all__ = ["Comparison", "Row", "Value"]


@dataclass(frozen=True)
class Value:
    """One metric over the runs of a row."""

    mean: float
    spread: float | None
    spread_of: Literal["runs", "figure"] | None
    """Whether `spread` is the standard deviation over the runs or, with a single run, the metric's spread (see its
    protocol)."""
    runs: int
    protocol: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return all fields."""
        return dict(vars(self))


@dataclass(frozen=True)
class Row:
    """A prior, or a reference."""

    label: str
    kind: Literal["prior", "reference", "failed"]
    figures: Mapping[str, Value] = field(default_factory=dict)
    """Metrics of the learned prior by name, and those after each stage as NAME_stage_K."""
    costs: Mapping[str, Value] = field(default_factory=dict)
    runs: tuple[str, ...] = ()
    """Names of the runs."""
    problem: str = ""
    """Why one of its runs failed, if any did."""

    @property
    def learns(self) -> bool:
        """Whether the prior was trained or fitted; the Gaussian prior costs nothing, which is no merit."""
        spent = self.costs.get("seconds")
        return spent is None or spent.mean > 0


@dataclass(frozen=True)
class Comparison:
    """All rows, references first."""

    rows: tuple[Row, ...]
    setting: Mapping[str, str]
    """What all runs share: data, backbone, samples, budget, spread."""
    warnings: tuple[str, ...] = ()
    refused: frozenset[str] = frozenset()
    """Metrics whose protocols differ between rows: they are shown but not ranked."""
    ranks: Mapping[str, Mapping[str, Rank]] = field(default_factory=dict)
    """The places of rows, by metric and label."""

    @property
    def priors(self) -> tuple[Row, ...]:
        """The rows with metrics of a prior."""
        return tuple(row for row in self.rows if row.kind == "prior")

    def names(self, *beginnings: str) -> list[str]:
        """Return the metrics for which at least one row has a value, without those of stages and layers."""
        every = dict.fromkeys(name for row in self.rows for name in row.figures)
        bare = (name for name in every if "_stage_" not in name and "_layer_" not in name and "_top_" not in name)
        return [name for name in bare if name.startswith(beginnings)] if beginnings else list(bare)

    def best(self, name: str) -> Row | None:
        """Return the prior with the best mean; None if the metric is unknown, has no direction or is not ranked.
        By a cost only priors that learn are compared."""
        if name in self.refused or not ranked(name):
            return None
        found = [
            (bad, row)
            for row in self.priors
            if (value := row.figures.get(name) or (row.costs.get(name) if row.learns else None)) is not None
            and (bad := badness(name, value.mean)) is not None
        ]
        return min(found, key=lambda pair: pair[0])[1] if len(found) > 1 else None

    def leads(self, name: str, row: Row) -> bool:
        """Return whether a row is the best by a metric or a cost, or cannot be told from the best."""
        ranks = self.ranks.get(name)
        if ranks is None:
            return self.best(name) is row
        return row.label in ranks and ranks[row.label].place == 1

    def rank(self, name: str, row: Row) -> Rank | None:
        """Return a row's place by a metric; None if there is none."""
        return self.ranks.get(name, {}).get(row.label)

    def as_dict(self) -> dict[str, Any]:
        """Return the contents of compare.json."""
        return {
            "setting": dict(self.setting),
            "warnings": list(self.warnings),
            "not_compared": sorted(self.refused),
            "rows": [self._row(row) for row in self.rows],
        }

    def _row(self, row: Row) -> dict[str, Any]:
        ranks = {name: rank.as_dict() for name in row.figures if (rank := self.rank(name, row)) is not None}
        return {
            "prior": row.label,
            "kind": row.kind,
            "runs": list(row.runs),
            "problem": row.problem or None,
            "metrics": {name: value.as_dict() for name, value in row.figures.items()},
            "ranks": ranks,
            "cost": {name: value.as_dict() for name, value in row.costs.items()},
        }
