"""Metrics: likelihood bounds, the gap between prior and posterior, sample fidelity, exact densities of toys."""

from priorkit.core import FeatureExtractor, Features, Metric
from priorkit.metrics.extraction import extracted
from priorkit.metrics.features import FeatureNetwork, feature_network, features_for
from priorkit.metrics.fidelity import FidelityReference
from priorkit.metrics.frechet import Statistics, frechet_distance, statistics
from priorkit.metrics.gap import MIN_FOR_GAP, gap_auc
from priorkit.metrics.likelihood import elbo, importance_bound, reconstruction_error
from priorkit.metrics.toy_nll import heldout_nll, log_normaliser

__all__ = [
    "MIN_FOR_GAP",
    "FeatureExtractor",
    "FeatureNetwork",
    "Features",
    "FidelityReference",
    "Metric",
    "Statistics",
    "elbo",
    "extracted",
    "feature_network",
    "features_for",
    "frechet_distance",
    "gap_auc",
    "heldout_nll",
    "importance_bound",
    "log_normaliser",
    "reconstruction_error",
    "statistics",
]
