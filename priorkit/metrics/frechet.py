r"""The Fréchet distance between Gaussians fitted to two sets of features.

.. math:: d^2 = |m_a - m_b|^2 + \mathrm{tr}\, C_a + \mathrm{tr}\, C_b - 2\, \mathrm{tr}\, (C_a C_b)^{1/2}

(Dowson and Landau 1982).  With symmetric roots the last trace is the nuclear norm of :math:`C_a^{1/2} C_b^{1/2}`, which
singular values give without ever taking the root of a rounding error; covariances may be singular.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from priorkit.errors import UsageError

__all__ = ["Statistics", "frechet_distance", "statistics", "weighted_statistics"]


@dataclass(frozen=True)
class Statistics:
    """Mean and unbiased covariance of a set of features, float64."""

    mean: Tensor
    """(F,)."""
    covariance: Tensor
    """(F, F), symmetric."""
    count: int
    """Number of points from which they were computed."""

    @cached_property
    def root(self) -> Tensor:
        """The symmetric root of the covariance, (F, F); computed once, since a reference is compared with many sets."""
        return symmetric_root(self.covariance)


def statistics(features: Tensor) -> Statistics:
    """Return mean and covariance (divided by N - 1) of features (N, F), N >= 2."""
    return weighted_statistics(features, torch.ones(len(features), device=features.device))


def weighted_statistics(features: Tensor, counts: Tensor) -> Statistics:
    """Return the same if row i of features (N, F) occurs counts[i] times; counts (N,) are integers and sum to at least 2."""
    if features.ndim != 2 or counts.shape != features.shape[:1]:
        raise UsageError(f"statistics: expected features (N, F), got {tuple(features.shape)} and {tuple(counts.shape)}")
    total = float(counts.sum())
    if total < 2:
        raise UsageError(f"statistics: a covariance needs at least 2 points, got {total:.0f}; use more samples")
    values, weights = features.double(), counts.double()
    mean = weights @ values / total
    centred = values - mean
    covariance = centred.T @ (weights[:, None] * centred) / (total - 1)
    return Statistics(mean, (covariance + covariance.T) / 2, round(total))


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """Return the squared distance d^2 above, >= 0, in squared units of the features."""
    if a.mean.shape != b.mean.shape:
        raise UsageError(f"Fréchet distance: {len(a.mean)} features against {len(b.mean)}; use one feature network for both")
    overlap = torch.linalg.svdvals(a.root @ b.root).sum()
    squared = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * overlap
    return max(0.0, float(squared))


def symmetric_root(matrix: Tensor) -> Tensor:
    """Return the symmetric root of a positive semi-definite matrix (F, F); eigenvalues below zero are rounding errors and
    count as 0."""
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    return root
