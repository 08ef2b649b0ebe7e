"""Classifiers of two samples, evaluated on points they have not seen, and their combination.

Three kinds see three kinds of difference: Gaussians fitted to each sample (quadratic discriminant analysis: shifts, scales,
correlations), boosted trees (marginal shapes, interactions of few columns), and a linear discriminant, for features that
are moments already.  A logistic regression weighs them, on scores for points that they were not trained on either.

Every classifier is trained once without each pair of folds.  For the test fold k, the scores of fold j come from those
trained without k and j: the weights are learnt on all other folds, and no label of fold k is used anywhere.  Its own
points have the mean score of the classifiers without k and any second fold.

scikit-learn is imported when it is used: its import takes as long as torch's, and priors that import a metric do not need
it.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "CLASSIFIER",
    "Floats",
    "Integers",
    "View",
    "combined",
    "cross_fitted",
    "gaussian",
    "linear",
    "of_own_fold",
    "trees",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Fit = Callable[[Floats, Integers, Floats], Floats]
"""Training points (N, F), their labels (N,) and other points (M, F) to scores (M,), larger for class 1."""

CLASSIFIER = "Gaussian quadratic and linear discriminants and 40 boosted trees of 8 leaves, weighed by logistic regression"


class View:
    """A classifier with the features that it sees."""

    def __init__(self, fit: Fit, features: Tensor, limit: int | None = None) -> None:
        """Of features (N, F) with F above `limit`, each training sees those whose marginals differ most in its points."""
        self.fit, self.limit = fit, limit
        self.features: Floats = features.cpu().double().numpy()

    def scores(self, y: Integers, train: Flags, unseen: Flags) -> Floats:
        """Return the scores of the unseen points of a classifier trained on the others; labels y (N,)."""
        columns = self._most_different(y, train)
        return self.fit(self.features[train][:, columns], y[train], self.features[unseen][:, columns])

    def _most_different(self, y: Integers, train: Flags) -> Integers | slice:
        """Return the columns of the largest Kolmogorov-Smirnov distances between the classes of the training points."""
        if self.limit is None or self.features.shape[1] <= self.limit:
            return slice(None)
        share = np.where(y == 1, 1 / (train & (y == 1)).sum(), -1 / (train & (y == 0)).sum()) * train
        distances = np.abs(np.cumsum(share.astype(np.float32)[self._order], axis=1)).max(1)
        return np.sort(np.argsort(-distances, kind="stable")[: self.limit])

    @cached_property
    def _order(self) -> Integers:
        """The rows by the value of each column, (F, N), sorted once for all trainings."""
        return np.argsort(self.features.T, axis=1, kind="stable")


def cross_fitted(views: Sequence[View], y: Integers, folds: Integers) -> Floats:
    """Return scores (folds, N, views): entry k has the scores for test fold k, from classifiers that have not seen it."""
    count = int(folds.max()) + 1
    scores = np.zeros((count, len(y), len(views)))
    for i, j in combinations(range(count), 2):
        unseen = (folds == i) | (folds == j)
        found = np.zeros((len(y), len(views)))
        for number, view in enumerate(views):
            found[unseen, number] = view.scores(y, ~unseen, unseen)
        for test, other in ((i, j), (j, i)):
            scores[test, folds == other] = found[folds == other]
            scores[test, folds == test] += found[folds == test] / (count - 1)
    return scores


def combined(scores: Floats, y: Integers, folds: Integers, *, rescaled: bool) -> Floats:
    """Return the log odds (folds, N) of scores (folds, N, views) for each test fold, by a logistic regression on the others.

    The log odds of the other folds come from a regression without them too, so a further regression can weigh them.
    `rescaled` divides the scores by their deviation; log odds need none, and those of uninformative parts stay small.
    """
    count = int(folds.max()) + 1
    odds = np.zeros(scores.shape[:2])
    for k in range(count):
        scale = scores[k, folds != k].std(0) + 1e-12 if rescaled else 1.0
        for j in range(count):
            train, unseen = (folds != k) & (folds != j), folds == j
            odds[k, unseen] = _log_odds(scores[k, train] / scale, y[train], scores[k, unseen] / scale)
    return odds


def of_own_fold(odds: Floats, folds: Integers) -> Floats:
    """Return the log odds of each point (N,) from those for its own test fold, of (folds, N)."""
    own: Floats = odds[folds, np.arange(len(folds))]
    return own


def gaussian(x: Floats, y: Integers, unseen: Floats) -> Floats:
    """Log ratio of two Gaussians with shrunk covariances: a `Fit`."""
    return _log_density(x[y == 1], unseen) - _log_density(x[y == 0], unseen)


def linear(x: Floats, y: Integers, unseen: Floats) -> Floats:
    """Linear discriminant with a shrunk covariance: a `Fit`."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis  # type: ignore[import-untyped]

    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    scores: Floats = model.fit(x, y).decision_function(unseen)
    return scores


def trees(x: Floats, y: Integers, unseen: Floats) -> Floats:
    """Boosted trees: a `Fit`."""
    from sklearn.ensemble import HistGradientBoostingClassifier  # type: ignore[import-untyped]

    model = HistGradientBoostingClassifier(
        max_iter=40, learning_rate=0.2, max_leaf_nodes=8, max_bins=64, early_stopping=False, random_state=0
    )
    scores: Floats = model.fit(x, y).decision_function(unseen)
    return scores


def _log_odds(x: Floats, y: Integers, unseen: Floats) -> Floats:
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

    odds: Floats = LogisticRegression().fit(x, y).decision_function(unseen)
    return odds


def _log_density(sample: Floats, points: Floats) -> Floats:
    from sklearn.covariance import ledoit_wolf  # type: ignore[import-untyped]

    covariance, _ = ledoit_wolf(sample)
    # A collapsed layer has variance 0; the floor is far below float32's resolution of any other.
    factor = np.linalg.cholesky(covariance + 1e-8 * np.eye(len(covariance)))
    whitened = np.linalg.solve(factor, (points - sample.mean(0)).T)
    density: Floats = -0.5 * np.square(whitened).sum(0) - np.log(np.diag(factor)).sum()
    return density
