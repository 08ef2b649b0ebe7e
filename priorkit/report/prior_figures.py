"""The metrics of a run by prior: Gaussian, after each stage, learned, posterior samples; the rows of the tables."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from priorkit.core.metric import Metric
from priorkit.report.order import last_number
from priorkit.report.titles import titles, without_prior

__all__ = ["PriorFigures", "is_detail", "of_a_prior", "prior_figures", "shown_figure"]

BARE = (
    *("fd_", "gap_auc", "energy_distance", "sliced_wasserstein", "nll", "forbidden", "cell_"),
    *("log_z", "elbo_prior", "iw_prior", "gain_nats", "share_closed"),
    *("fid", "kid", "kd_", "cmmd", "inception_score", "class_score_", "precision_", "recall_", "copied"),
    *("authenticity", "c_t", "density_", "coverage_", "clipped_"),
)
"""Prefixes of metrics that are computed for several priors, which have different suffixes."""
OF_DATA = ("copied_heldout", "authenticity_heldout", "nll_truth")
"""Metrics with such a prefix that do not belong to a prior."""
DETAIL = re.compile(r"_(layer|top)_\d+|^log_z_|_p$")


@dataclass(frozen=True)
class PriorFigures:
    """A table of metrics: rows by name, with a metric or None per prior."""

    endings: Sequence[str]
    """The suffixes of the priors, in order: Gaussian, stages, learned, posterior samples."""
    rows: Mapping[str, Sequence[Metric | None]]
    titles: Mapping[str, str]
    """Titles of the rows, in their order."""


def prior_figures(figures: Mapping[str, Metric], *, details: bool = True) -> PriorFigures:
    """Return the metrics of priors; the last stage is the learned prior. Without `details`, those of all layers together."""
    found: dict[str, dict[str, Metric]] = {}
    for name, figure in figures.items():
        base, ending = without_prior(name)
        if of_a_prior(name) and (details or not is_detail(base)):
            found.setdefault(base, {})[ending] = figure
    every = {ending for row in found.values() for ending in row}
    stages = sorted((ending for ending in every if ending.startswith("_stage_")), key=last_number)
    endings = [ending for ending in ("_gaussian", *stages[:-1], "", "_posterior") if ending in every]
    told = titles(found)
    return PriorFigures(endings, {base: [found[base].get(ending) for ending in endings] for base in told}, told)


def of_a_prior(name: str) -> bool:
    """Return whether a metric belongs to a prior."""
    return name.startswith(BARE) and name not in OF_DATA


def is_detail(name: str) -> bool:
    """Return whether a metric is of some layers only, or a part of another one."""
    return DETAIL.search(name) is not None


def shown_figure(figure: Metric | None) -> str:
    """Return a metric to three digits, with its spread to one; whole numbers from 1,000 on. Empty for None."""
    if figure is None:
        return ""
    value = f"{figure.value:,.0f}" if 1_000 <= abs(figure.value) < 1e6 else f"{figure.value:.3g}"
    if figure.spread is None:
        return value
    return f"{value} ±{figure.spread:,.0f}" if 10 <= figure.spread < 1e6 else f"{value} ±{figure.spread:.1g}"
