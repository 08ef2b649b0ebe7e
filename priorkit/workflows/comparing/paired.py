"""How much worse one row is than another, and its interval: over pairs of runs with the same backbone and seed.

- Several pairs: a t-interval over the differences of the pairs, which contains the variation of training and of samples.
- One pair: the differences of the figure's resamples, which are the same for both runs (a joint bootstrap); without them,
  the intervals of both figures as if independent, which is too wide where both are measured on the same images. Neither
  contains the variation of training.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

from priorkit.metrics import Metric
from priorkit.report.direction import badness
from priorkit.report.ranking import Behind
from priorkit.workflows.comparing.run_record import RunRecord

__all__ = ["behind"]

LEVEL = 0.95
PAIRED, JOINT, APART, NONE = (
    "t-interval over {} pairs of equal backbone and seed",
    "joint bootstrap of one pair of runs",
    "the intervals of both metrics, as if independent",
    "no interval",
)


def behind(name: str, row: Sequence[RunRecord], leader: Sequence[RunRecord]) -> Behind:
    """Return how much worse a row's runs are than the leader's by this figure, with half the 95 % interval."""
    from scipy.special import stdtrit  # type: ignore[import-untyped]

    pairs = _pairs(name, row, leader)
    if len(pairs) > 1:
        differences = [_bad(name, one.value) - _bad(name, other.value) for one, other in pairs]
        spread = float(stdtrit(len(pairs) - 1, (1 + LEVEL) / 2)) * stdev(differences) / math.sqrt(len(pairs))
        return Behind(fmean(differences), spread, PAIRED.format(len(pairs)))
    ours, theirs = pairs[0] if pairs else (_first(name, row), _first(name, leader))
    difference = _bad(name, ours.value) - _bad(name, theirs.value)
    if pairs and ours.resamples and len(ours.resamples) == len(theirs.resamples):
        found = [_bad(name, a) - _bad(name, b) for a, b in zip(ours.resamples, theirs.resamples, strict=True)]
        # As elsewhere, normal: the ends of 200 resamples are too uncertain themselves.
        return Behind(difference, 1.959964 * stdev(found), JOINT)
    if any("95 %" not in figure.protocol or figure.spread is None for figure in (ours, theirs)):
        return Behind(difference, None, NONE)
    return Behind(difference, math.hypot(ours.spread or 0.0, theirs.spread or 0.0), APART)


def _pairs(name: str, row: Sequence[RunRecord], leader: Sequence[RunRecord]) -> list[tuple[Metric, Metric]]:
    mine, theirs = _by_seed(name, row), _by_seed(name, leader)
    return [(mine[key], theirs[key]) for key in mine if key in theirs]


def _by_seed(name: str, runs: Sequence[RunRecord]) -> Mapping[tuple[str, int, int], Metric]:
    return {
        (run.backbone_content, run.config.seed, run.summary.get("sample_seed", 0)): run.figures[name]
        for run in runs
        if name in run.figures
    }


def _first(name: str, runs: Sequence[RunRecord]) -> Metric:
    return next(run.figures[name] for run in runs if name in run.figures)


def _bad(name: str, value: float) -> float:
    bad = badness(name, value)
    return math.nan if bad is None else bad
