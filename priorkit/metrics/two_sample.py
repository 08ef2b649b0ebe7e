"""A classifier of two samples, evaluated on points it has not seen.

It combines two classifiers: Gaussians fitted to each sample (quadratic discriminant analysis: shifts, scales, correlations;
optimal if the samples are Gaussian) and boosted trees (marginal shapes, interactions of few coordinates). A logistic
regression on a part of the training points weights them, so the weaker one costs little.

scikit-learn is imported when it is used: its import takes as long as torch's, and priors that import a metric do not need
it.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["CLASSIFIER", "out_of_fold_scores"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CLASSIFIER = "Gaussian quadratic discriminant and 60 boosted trees of 8 leaves, weighed by logistic regression"


def out_of_fold_scores(x: Floats, is_positive: Integers, folds: Integers) -> Floats:
    """Return a score for each row of x (N, D), larger for class 1, from a classifier trained on the other folds; (N,)."""
    scores = np.empty(len(x))
    count = int(folds.max()) + 1
    for fold in range(count):
        test, weigh = folds == fold, folds == (fold + 1) % count
        scores[test] = _fold_scores(x, is_positive, test, weigh)
    return scores


def _fold_scores(x: Floats, y: Integers, test: NDArray[np.bool_], weigh: NDArray[np.bool_]) -> Floats:
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

    train = ~(test | weigh)
    unseen = ~train
    opinions = np.stack([_gaussian(x[train], y[train], x[unseen]), _trees(x[train], y[train], x[unseen])], axis=1)
    to_weigh, to_test = opinions[weigh[unseen]], opinions[test[unseen]]
    scale = to_weigh.std(0) + 1e-12
    judge = LogisticRegression().fit(to_weigh / scale, y[weigh])
    scores: Floats = judge.decision_function(to_test / scale)
    return scores


def _gaussian(x: Floats, y: Integers, unseen: Floats) -> Floats:
    return _log_density(x[y == 1], unseen) - _log_density(x[y == 0], unseen)


def _log_density(sample: Floats, points: Floats) -> Floats:
    from sklearn.covariance import ledoit_wolf  # type: ignore[import-untyped]

    covariance, _ = ledoit_wolf(sample)
    # A collapsed layer has variance 0; the floor is far below float32's resolution of any other.
    factor = np.linalg.cholesky(covariance + 1e-8 * np.eye(len(covariance)))
    whitened = np.linalg.solve(factor, (points - sample.mean(0)).T)
    density: Floats = -0.5 * np.square(whitened).sum(0) - np.log(np.diag(factor)).sum()
    return density


def _trees(x: Floats, y: Integers, unseen: Floats) -> Floats:
    from sklearn.ensemble import HistGradientBoostingClassifier  # type: ignore[import-untyped]

    model = HistGradientBoostingClassifier(
        max_iter=60, learning_rate=0.15, max_leaf_nodes=8, max_bins=64, early_stopping=False, random_state=0
    )
    scores: Floats = model.fit(x, y).decision_function(unseen)
    return scores
