"""The area under the ROC curve of clustered scores."""

import numpy as np

from priorkit.metrics.auc import Scored, clustered_auc


def test_the_numbers_of_clusters_mean_nothing():
    """Numbers that do not occur count as no cluster."""
    random = np.random.default_rng(0)
    a, b, folds = random.normal(size=60) + 1, random.normal(size=40), np.zeros(60, dtype=int)
    negative = Scored(b, np.zeros(40, dtype=int), np.arange(40))
    first, spread = (
        clustered_auc(Scored(a, folds, clusters), negative)
        for clusters in (np.arange(60) // 3, 7 * (np.arange(60) // 3) + 2)
    )
    assert first == spread
