r"""How well a score separates data of the distribution (higher) from others (lower), with bootstrap intervals.

Every metric is a function of how often each value occurs in the two sets, so all resamples are computed at once, as rows
of counts over the sorted values (scikit-learn's and scipy's functions, used in the tests, compute one at a time).

The percentile bootstrap gives the 95 % intervals of the area under the ROC curve, of fpr95 and of Cohen's d.  The area under
the precision-recall curve lies near its bound of 1 and its resamples are biased upwards, so that percentiles cover too
little: its interval is normal on the scale of the logit (Boyd et al. 2013), less the bootstrap's estimate of the bias.
The Kolmogorov-Smirnov statistic has no percentile interval if the sets are alike: there the statistic is at the edge of its
range, and every resample is farther from it than the true value. Its error is at most
:math:`\sup |(\hat F - F) - (\hat G - G)|`, whose 95 % quantile the bootstrap estimates.
"""

from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Generator, Tensor

from priorkit.errors import UsageError

__all__ = ["MEASURES", "Estimate", "detection"]

MEASURES = {
    "auroc": "area under the ROC curve: P(a datum scores above an outsider), ties by half; 0.5 is chance",
    "auprc": "average precision with the outsiders as what is sought; chance is their share",
    "fpr95": "share of outsiders above the threshold that 95 % of the data pass; 0.95 is chance",
    "ks": "Kolmogorov-Smirnov statistic: largest distance of the two distribution functions; 0 is chance",
    "cohen_d": "difference of the means in pooled standard deviations; 0 is chance",
}
"""The measures, with descriptions."""

LEVEL = 0.95
RESAMPLES = 1_000
PASSED = 0.95
SMALLEST = 1e-6
"""Smallest distance of a share from 0 and 1 in its logit."""
CELLS = 2**16
"""Number of entries of a table of counts; larger tables exceed the processor's cache and are slower."""


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """Return the three fields."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class _Values:
    """The sorted distinct values of both sets together."""

    distinct: Tensor
    """(V,)."""
    inside: Tensor
    """Index of each datum's value, (N,)."""
    outside: Tensor
    """(M,)."""


@dataclass(frozen=True)
class _Counts:
    """How often each value occurs, one resample per row."""

    inside: Tensor
    """(R, V), float64, each row with the sum N."""
    outside: Tensor
    """(R, V), each row with the sum M."""


def detection(
    inside: Tensor, outside: Tensor, *, resamples: int = RESAMPLES, generator: Generator | None = None
) -> dict[str, Estimate]:
    """Return all `MEASURES` for scores of data (N,) and of out-of-distribution data (M,).

    Raises UsageError for fewer than two scores of a set and for scores that are not finite.
    """
    for name, scores in (("data", inside), ("outsiders", outside)):
        if scores.ndim != 1 or len(scores) < 2 or not bool(torch.isfinite(scores).all()):
            raise UsageError(f"detection: expected 2 or more finite scores of {name}, got {tuple(scores.shape)}")
    values = _sorted(inside.detach().cpu().double(), outside.detach().cpu().double())
    once = _counts(values, values.inside[None], values.outside[None])
    point = _measured(once, values.distinct)
    drawn: dict[str, list[Tensor]] = {name: [] for name in MEASURES}
    rows = max(1, CELLS // max(len(values.distinct), 1))
    for first in range(0, resamples, rows):
        count = min(rows, resamples - first)
        again = _counts(values, *(_drawn(places, count, generator) for places in (values.inside, values.outside)))
        for name, figures in _measured(again, values.distinct).items():
            drawn[name].append(figures)
        drawn["ks"][-1] = _process_error(again, once)
    return {name: _estimate(name, float(point[name]), torch.cat(drawn[name])) for name in MEASURES}


def _estimate(name: str, value: float, drawn: Tensor) -> Estimate:
    if name == "ks":
        reach = float(drawn.quantile(LEVEL))
        return Estimate(value, max(0.0, value - reach), min(1.0, value + reach))
    if name == "auprc":
        return _on_logits(value, drawn)
    low, high = drawn.quantile(drawn.new_tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2])).tolist()
    return Estimate(value, low, high)


def _on_logits(value: float, drawn: Tensor) -> Estimate:
    """Return a normal interval of a share's logit, from its resamples (R,)."""
    if not bool((drawn != value).any()):
        return Estimate(value, value, value)
    logits = torch.logit(drawn, eps=SMALLEST)
    centre = 2 * torch.logit(drawn.new_tensor(value), eps=SMALLEST) - logits.mean()
    reach = NormalDist().inv_cdf((1 + LEVEL) / 2) * logits.std()
    low, high = torch.sigmoid(torch.stack([centre - reach, centre + reach])).tolist()
    return Estimate(value, min(low, value), max(high, value))


def _sorted(inside: Tensor, outside: Tensor) -> _Values:
    distinct, places = torch.unique(torch.cat([inside, outside]), return_inverse=True)
    return _Values(distinct, places[: len(inside)], places[len(inside) :])


def _drawn(places: Tensor, rows: int, generator: Generator | None) -> Tensor:
    """Return `rows` resamples of the indices, (rows, N)."""
    return places[torch.randint(len(places), (rows, len(places)), generator=generator)]


def _counts(values: _Values, inside: Tensor, outside: Tensor) -> _Counts:
    def table(places: Tensor) -> Tensor:
        ones = torch.ones(places.shape, dtype=torch.float64)
        return torch.zeros(len(places), len(values.distinct), dtype=torch.float64).scatter_add_(1, places, ones)

    return _Counts(table(inside), table(outside))


def _measured(counts: _Counts, distinct: Tensor) -> dict[str, Tensor]:
    """Return each measure, (R,)."""
    data, outsiders = counts.inside.cumsum(1), counts.outside.cumsum(1)
    n, m = data[:, -1], outsiders[:, -1]
    below = outsiders - counts.outside / 2
    # Precision and recall of 'scores up to this value are out-of-distribution', one value after the other.
    precision = outsiders / (data + outsiders).clamp(min=1)
    # The threshold is the highest value that 95 % of the data reach; sums of integers are compared without rounding.
    reaching = data[:, -1:] - data + counts.inside
    threshold = (reaching >= PASSED * n[:, None] - 1e-9).sum(1) - 1
    passing = (outsiders - counts.outside).gather(1, threshold[:, None])[:, 0]
    return {
        "auroc": (counts.inside * below).sum(1) / (n * m),
        "auprc": (precision * counts.outside).sum(1) / m,
        "fpr95": 1 - passing / m,
        "ks": (data / n[:, None] - outsiders / m[:, None]).abs().amax(1),
        "cohen_d": _effect(counts, distinct, n, m),
    }


def _effect(counts: _Counts, distinct: Tensor, n: Tensor, m: Tensor) -> Tensor:
    # Shifting and scaling all scores has no effect; without it, squares of large scores would lose all digits.
    centred = distinct - distinct.mean()
    centred = centred / centred.abs().max().clamp(min=torch.finfo(torch.float64).tiny)
    moments = [(table @ centred, table @ centred.square()) for table in (counts.inside, counts.outside)]
    means = [first / size for (first, _), size in zip(moments, (n, m), strict=True)]
    squares = [second - size * mean.square() for (_, second), size, mean in zip(moments, (n, m), means, strict=True)]
    pooled = (sum(squares[1:], squares[0]).clamp(min=0) / (n + m - 2)).sqrt()
    difference = means[0] - means[1]
    return torch.where(difference == 0, 0.0, difference / pooled.clamp(min=1e-12))


def _process_error(again: _Counts, once: _Counts) -> Tensor:
    """Return sup |(F* - F) - (G* - G)| of each resample, (R,)."""

    def difference(counts: _Counts) -> Tensor:
        data, outsiders = counts.inside.cumsum(1), counts.outside.cumsum(1)
        return data / data[:, -1:] - outsiders / outsiders[:, -1:]

    return (difference(again) - difference(once)).abs().amax(1)
