r"""The Fréchet distance between Gaussians fitted to two sets of features.

.. math:: d^2 = |m_a - m_b|^2 + \mathrm{tr}\, C_a + \mathrm{tr}\, C_b - 2\, \mathrm{tr}\, (C_a C_b)^{1/2}

(Dowson and Landau 1982).  For any factor with :math:`F_a F_a^T = C_a`, the last trace is the sum of the roots of the
eigenvalues of :math:`F_a^T C_b F_a`, and the sum of the singular values of :math:`F_a^T F_b`.  Eigenvalues of a symmetric
matrix are the quickest, but the root of a small one multiplies its rounding error; singular values do not.  Covariances may
be singular.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from priorkit.errors import UsageError

NEGLIGIBLE = 1e-9
"""Largest possible rounding error of the overlap, as a fraction of it, for which eigenvalues are used."""

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
    def factor(self) -> Tensor:
        """A factor L of the covariance, L L^T, (F, R); computed once, since a reference is compared with many sets.

        Cholesky's, or, of a singular covariance, the R eigenvectors with eigenvalues above the rounding error.
        """
        if self.count > len(self.covariance):
            factor: Tensor
            factor, failed = torch.linalg.cholesky_ex(self.covariance)
            smallest, largest = factor.diagonal().square().aminmax()
            if not int(failed) and bool(smallest > _rounding(largest, len(factor))):
                return factor
        values: Tensor
        vectors: Tensor
        values, vectors = torch.linalg.eigh(self.covariance)
        kept = values > _rounding(values[-1], len(values))
        return vectors[:, kept] * values[kept].sqrt()


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
    squared = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * _overlap(a, b)
    return max(0.0, float(squared))


def _overlap(a: Statistics, b: Statistics) -> Tensor:
    """Return the trace of the root of C_a C_b."""
    # Of a few points the factor is thin.
    a, b = (b, a) if b.count < a.count else (a, b)
    values: Tensor = torch.linalg.eigvalsh(a.factor.T @ b.covariance @ a.factor).clamp(min=0)
    roots = values.sqrt()
    if not len(roots):
        return roots.sum()
    # The root of a value that is off by e is off by at most e / (2 root), and by at most the root of e.
    error = torch.finfo(values.dtype).eps * values[-1]
    errors = torch.minimum(error / (2 * roots), error.sqrt())
    if bool(errors.sum() <= NEGLIGIBLE * roots.sum()):
        return roots.sum()
    singular: Tensor = torch.linalg.svdvals(a.factor.T @ b.factor)
    return singular.sum()


def _rounding(largest: Tensor, size: int) -> Tensor:
    """Return the rounding error of the eigenvalues of a symmetric matrix of that size with that largest eigenvalue."""
    return size * torch.finfo(largest.dtype).eps * largest
