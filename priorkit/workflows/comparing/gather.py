"""Collects finished runs into the rows of a comparison."""

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence

from priorkit.metrics import Metric
from priorkit.report.comparison import Comparison, Row, Value
from priorkit.report.direction import badness, ranked
from priorkit.report.ranking import Rank, places
from priorkit.workflows.comparing.differences import differing_options, grouped
from priorkit.workflows.comparing.paired import behind
from priorkit.workflows.comparing.run_record import RunRecord

__all__ = ["POSTERIOR", "comparable", "gather", "over_runs"]

MEASURED = re.compile(
    r"(learned|Gaussian) prior with log Z = \S+ ± \S+|\d+ temperatures|accepted: [\d.]+|effective chains \d+"
    r"|\d+ of \d+ cells|\d+ x \d+ points on \[[^\]]*\] x \[[^\]]*\], error [^;]*"
)
"""Parts of a protocol that are results or their accuracy, and so differ between priors."""
POSTERIOR = "posterior samples"
"""The label of posterior samples in files."""
REFERENCES = {"_gaussian": "Gaussian", "_posterior": POSTERIOR}
TOLD = 1
"""Largest number of options in a label that distinguish two rows of one prior."""
RANKED = (
    "by the first ranked metric; rows with '=' cannot be told from the first of their place: the 95 % interval of the "
    "difference (over pairs of runs of equal backbone and seed; of one pair over joint resamples) contains 0"
)
UNLIKE = ("log_z",)
"""Metrics with an unknown constant that differs between priors."""


def gather(runs: Sequence[RunRecord], failed: Mapping[str, str], setting: Mapping[str, str]) -> Comparison:
    """Return one row per configuration, over its seeds; `failed` maps rows to the reason why one of their runs is
    missing."""
    groups = grouped(runs)
    labels = _labels(groups)
    rows = [_row(label, group, failed.get(label, "")) for label, group in zip(labels, groups, strict=True)]
    lost = [Row(label, "failed", problem=problem) for label, problem in failed.items() if label not in labels]
    references = _references(runs, have_gaussian=any(run.config.prior.name == "gaussian" for run in runs))
    refused, warnings = _unlike(groups, labels)
    spread = "standard deviation over the runs of a row" + (
        "" if all(len(group) > 1 for group in groups) else "; with one run the metric's own, as its protocol says"
    )
    told = {**setting, "spread": spread, "rank": RANKED}
    ranks = _ranks(rows, dict(zip(labels, groups, strict=True)), refused)
    return Comparison((*references, *rows, *lost), told, tuple(warnings), frozenset(refused), ranks)


def over_runs(figures: Sequence[Metric]) -> Value:
    """Return mean and standard deviation of one metric over runs; for one run, its spread."""
    values = [figure.value for figure in figures]
    first = figures[0]
    if len(values) > 1:
        return Value(statistics.fmean(values), statistics.stdev(values), "runs", len(values), first.protocol)
    return Value(values[0], first.spread, None if first.spread is None else "figure", 1, first.protocol)


def comparable(protocol: str) -> str:
    """Return a protocol without measured values; two metrics are comparable if these are equal."""
    return MEASURED.sub("*", protocol)


def _row(label: str, runs: Sequence[RunRecord], problem: str) -> Row:
    names = dict.fromkeys(
        name for run in runs for name in run.figures if not any(ending in name for ending in REFERENCES)
    )  # fmt: skip
    figures = {name: over_runs([run.figures[name] for run in runs if name in run.figures]) for name in names}
    costs = {
        name: over_runs([Metric(run.costs[name], None, "") for run in runs if name in run.costs])
        for name in dict.fromkeys(name for run in runs for name in run.costs)
    }
    return Row(label, "prior", figures, costs, tuple(run.name for run in runs), problem)


def _ranks(rows: Sequence[Row], runs: Mapping[str, Sequence[RunRecord]], refused: set[str]) -> dict[str, Mapping[str, Rank]]:
    """Return the places of the rows by each metric that may be ranked, if at least two rows have it."""
    found = {}
    for name in sorted({name for row in rows for name in row.figures if ranked(name)} - refused):
        bad = {row.label: badness(name, row.figures[name].mean) or 0.0 for row in rows if name in row.figures}
        if len(bad) > 1:
            in_order = sorted(bad, key=bad.__getitem__)
            found[name] = places(in_order, lambda row, first, name=name: behind(name, runs[row], runs[first]))  # type: ignore[misc]
    return found


def _references(runs: Iterable[RunRecord], *, have_gaussian: bool) -> list[Row]:
    """Return rows for the Gaussian prior and posterior samples, over one run per backbone and seed; other runs repeat
    them."""
    once = {(run.backbone_content, run.summary.get("sample_seed", 0)): run for run in runs}
    rows = []
    for ending, label in REFERENCES.items():
        if ending == "_gaussian" and have_gaussian:
            continue
        names = dict.fromkeys(name for run in runs for name in run.figures if ending in name)
        found = {
            _column(name): over_runs(figures)
            for name in names
            if (figures := [run.figures[name] for run in once.values() if name in run.figures])
        }
        if ending == "_gaussian":
            found = {**_bounds(once.values()), **found}
        if found:
            rows.append(Row(label, "reference", found))
    return rows


def _column(name: str) -> str:
    """Return the metric in whose column a run's metric is shown; metrics of references use those of the priors."""
    for ending in REFERENCES:
        name = name.replace(ending, "", 1)
    return name


def _bounds(runs: Iterable[RunRecord]) -> dict[str, Value]:
    """Return ELBO and importance-weighted bound of the Gaussian prior, which every run has."""
    found: dict[str, list[Metric]] = {}
    for run in runs:
        for name, figure in run.figures.items():
            if re.fullmatch(r"(elbo|iw)_(nats|bpd)", name):
                found.setdefault(name, []).append(figure)
    return {name: over_runs(figures) for name, figures in found.items()}


def _labels(groups: Sequence[Sequence[RunRecord]]) -> list[str]:
    """Return the names of the rows for which the runs were trained; of given runs those of their priors, if one occurs
    twice with the backbone and the options that distinguish the rows."""
    firsts = [group[0] for group in groups]
    if all(run.row for run in firsts):
        return [run.row for run in firsts]
    names = [run.config.prior.name for run in firsts]
    backbones = {run.config.backbone.name for run in firsts}
    labels = []
    for run, name in zip(firsts, names, strict=True):
        twins = [other for other in firsts if other.config.prior.name == name]
        parts = [name] + ([f"on {run.config.backbone.name}"] if len(backbones) > 1 else [])
        same = [other for other in twins if other.config.backbone.name == run.config.backbone.name]
        if len(same) > 1:
            told = {key: values[same.index(run)] for key, values in differing_options(same).items()}
            ranked = sorted(told, key=lambda key: not key.startswith("prior."))
            parts.append(", ".join(f"{key.removeprefix('prior.')}={told[key]}" for key in ranked[:TOLD]))
        labels.append(" ".join(part for part in parts if part))
    return [label if labels.count(label) == 1 else f"{label} ({number})" for number, label in enumerate(labels, start=1)]


def _unlike(groups: Sequence[Sequence[RunRecord]], labels: Sequence[str]) -> tuple[set[str], list[str]]:
    """Return the metrics that must not be compared, and a warning for each reason."""
    runs = [run for group in groups for run in group]
    warnings = []
    every = {name for run in runs for name in run.figures}
    if len({run.data_content for run in runs}) > 1:
        shown = "; ".join(f"{label}: {group[0].config.data.name}" for label, group in zip(labels, groups, strict=True))
        warnings.append(f"The runs were trained on different data ({shown}): no metric is compared.")
        return every, warnings
    refused = {name for name in every if name.startswith(UNLIKE)}
    unlike = []
    told: dict[str, set[str]] = {}
    for run in runs:
        for name, figure in run.figures.items():
            # By the name under which it is shown, so that a renamed metric is compared with those in the same column.
            told.setdefault(_column(name), set()).add(comparable(figure.protocol))
    for name in sorted(told.keys() - refused):
        if len(told[name]) > 1:
            refused.add(name)
            unlike.append(name)
    bare = [name for name in unlike if not re.search(r"_(stage|layer|gaussian|posterior|top)(_|$)", name)]
    if bare:
        warnings.append(
            f"Not compared, since the protocols differ between rows (counts, data or dimensions): {', '.join(bare)}. "
            "Measure all runs alike by `priorkit evaluate` or train them in one comparison."
        )
    if len({run.backbone_content for run in runs if run.backbone_content}) > max(map(len, groups)):
        warnings.append("The rows do not share their backbones, so a metric of images does not judge the prior alone.")
    return refused, warnings
