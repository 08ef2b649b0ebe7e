r"""Clipped density and coverage (Salvy, Talbot and Thirion 2025, "Enhanced Generative Model Evaluation with Clipped Density
and Coverage"): a set of which a share s is from the data's distribution, and the rest far away, has the value s.

- Clipped density: radii are at most the median radius, so that balls of outliers do not count; an image counts at most
  once, :math:`\min(c / k, 1)` for c balls; the mean is divided by that of the real images among each other.
- Clipped coverage: the mean over real images of :math:`\min(c / k, 1)` for c generated images in its ball, through the
  inverse of the mean that m of N images of the data's distribution would have, m = 0 … N. The mass of a ball is
  Beta(k, M - k), so c is beta-binomial.
"""

from math import lgamma

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from priorkit.core import Metric
from priorkit.errors import UsageError
from priorkit.metrics.neighbour_balls import SPREAD, Balls, Counts, half_width

__all__ = ["ClippedBalls", "clipped_coverage", "expected_clipped_coverage"]


class ClippedBalls:
    """The clipped balls of real images, and how often these are in each other's: M^2 F operations, once for all sets."""

    def __init__(self, real: Balls) -> None:
        """Raises UsageError if no real image is in another's clipped ball."""
        self.balls, k = real.clipped(), real.k
        own = self.balls.counts()
        among = own.of_points.clamp(max=k)
        self.mean = float(among.mean()) / k
        if self.mean == 0:
            raise UsageError("no real image is in the ball of another, so there is no density")
        m = len(among)
        several = self.balls.sums(torch.zeros_like(among), (own.of_points <= k).double()).of_balls
        self.losses = among / (k * (m - 1)) + several / (k * m)
        """What the mean loses without each real image, (M,)."""

    def density(self, generated: Tensor, against: str) -> Metric:
        """Return the clipped density of features (N, F): twice N M F operations."""
        k, n = self.balls.k, len(generated)
        met = self.balls.counts(generated)
        clipped = met.of_points.clamp(max=k)
        value = float(clipped.mean()) / k / self.mean
        several = self.balls.sums(torch.zeros_like(self.losses), (met.of_points <= k).double(), generated).of_balls
        of_real = (several / (k * n) - value * self.losses) / self.mean
        spread = half_width(clipped / (k * max(1, n - 1)) / self.mean, of_real)
        told = f"min(balls of a generated image / k, 1), radii at most the median, over that of real images, k = {k}"
        return Metric(min(value, 1.0), max(spread, 3 / n), f"{told}, {against}; {SPREAD}, at least 3 / number of images")


def clipped_coverage(generated: Tensor, real: Balls, met: Counts, against: str) -> Metric:
    """Return the clipped coverage of features (N, F); `met` are the counts of `real` for them. N M F operations more."""
    n, m, k = len(met.of_points), len(met.of_balls), real.k
    expected = expected_clipped_coverage(n, m, k)
    clipped = met.of_balls.clamp(max=k) / k
    raw, shares = float(clipped.mean()), np.arange(n + 1) / n
    value = float(np.interp(raw, expected, shares))
    several = real.sums((met.of_balls <= k).double(), torch.zeros_like(met.of_points), generated).of_points
    spread = half_width(clipped / (m - 1), several / (k * m)) / _slope(expected, shares, value)
    told = f"share of images of the data's distribution with this mean of min(images in a real one's ball / k, 1), k = {k}"
    return Metric(value, max(spread, 3 / m), f"{told}, {against}; {SPREAD}, at least 3 / number of real images")


def expected_clipped_coverage(n: int, m: int, k: int) -> NDArray[np.float64]:
    """Return the mean of min(c, k) / k if 0, 1, … n generated images are from the distribution of m real ones, (n + 1,)."""
    below = np.zeros(n + 1)
    for c in range(k):
        # E[min(c, k)] = k - the sum over c < k of (k - c) P(c), a beta-binomial probability.
        logs = [_log_beta_binomial(c, count, k, m - k) if count >= c else -np.inf for count in range(n + 1)]
        below += (k - c) * np.exp(logs)
    return 1 - below / k


def _log_beta_binomial(c: int, n: int, a: float, b: float) -> float:
    """Return log P(c of n) if the probability of each is Beta(a, b)."""
    choose = lgamma(n + 1) - lgamma(c + 1) - lgamma(n - c + 1)
    return choose + lgamma(c + a) + lgamma(n - c + b) - lgamma(n + a + b) - lgamma(a) - lgamma(b) + lgamma(a + b)


def _slope(expected: NDArray[np.float64], shares: NDArray[np.float64], value: float) -> float:
    """Return the derivative of the mean by the share at a value, over a tenth of the range where there is room."""
    low, high = max(0.0, value - 0.05), min(1.0, value + 0.05)
    ends = np.interp([low, high], shares, expected)
    return float(ends[1] - ends[0]) / (high - low)
