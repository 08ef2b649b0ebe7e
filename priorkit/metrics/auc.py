r"""The area under the ROC curve, also of scores from several folds, with an interval that takes clusters into account.

Scores of different folds come from different classifiers, so only scores within a fold are compared; the area is the
mean over the folds.  So it is 1/2 on average if the two sets have the same distribution, unlike the area of the
pooled folds.  The variance is DeLong's (1988), with the placement values summed within clusters (Obuchowski 1997), times
two: the classifier of fold i has seen fold j and that of j has seen i, so near 1/2 each chance agreement of two folds
counts twice.  Away from 1/2 that is too wide by a factor of at most 1.4.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Area", "Scored", "area_under_roc", "clustered_auc", "share_below"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LEVEL = 0.95


@dataclass(frozen=True)
class Area:
    """An area under the ROC curve and half the width of its 95 % interval."""

    value: float
    half_width: float


@dataclass(frozen=True)
class Scored:
    """One class: scores, folds and clusters of its points, (N,) each."""

    scores: Floats
    folds: Integers
    clusters: Integers


def area_under_roc(positive: Tensor, negative: Tensor) -> Tensor:
    """Return P(positive > negative) + P(equal) / 2, (...), float64, of scores (..., N) and (..., M)."""
    return share_below(positive.contiguous(), negative.contiguous()).mean(-1)


def clustered_auc(positive: Scored, negative: Scored) -> Area:
    """Return P(positive > negative) + P(equal) / 2, compared within folds; both classes must occur in each fold."""
    placed_positive, placed_negative = np.empty(len(positive.scores)), np.empty(len(negative.scores))
    folds = np.unique(positive.folds)
    for fold in folds:
        up, down = positive.folds == fold, negative.folds == fold
        a, b = positive.scores[up], negative.scores[down]
        scores, others = torch.from_numpy(a), torch.from_numpy(b)
        placed_positive[up] = share_below(scores, others).numpy()
        placed_negative[down] = 1 - share_below(others, scores).numpy()
    value = float(placed_positive.mean())
    variance = _variance_of_mean(placed_positive, positive.clusters) + _variance_of_mean(placed_negative, negative.clusters)
    shared = 2.0 if len(folds) > 1 else 1.0
    return Area(value, NormalDist().inv_cdf((1 + LEVEL) / 2) * float(np.sqrt(shared * variance)))


def share_below(values: Tensor, scores: Tensor) -> Tensor:
    """Return the share of scores (..., M) below each value (..., N), ties counted by half: (..., N), float64."""
    ordered = scores.sort(-1).values
    below = [torch.searchsorted(ordered, values, right=right).double() for right in (False, True)]
    return (below[0] + below[1]) / (2 * scores.shape[-1])


def _variance_of_mean(values: Floats, clusters: Integers) -> float:
    sums = np.bincount(clusters, weights=values - values.mean())
    sums = sums[np.bincount(clusters) > 0]
    return float(len(sums) / max(len(sums) - 1, 1) * np.square(sums).sum() / len(values) ** 2)
