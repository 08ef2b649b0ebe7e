r"""The energy distance between two samples, and whether a random cut of their union is as far apart.

.. math:: E = 2\, \mathrm{E}|X - Y| - \mathrm{E}|X - X'| - \mathrm{E}|Y - Y'|

(Székely and Rizzo 2013, "Energy statistics"): never negative, and 0 only where the two distributions are the same.
The estimate leaves out the distance of a point to itself, which makes it right on average; it can fall below 0.
"""

import torch
from torch import Generator, Tensor

from priorkit.core import Layout, Progress, no_progress
from priorkit.core.metric import Metric
from priorkit.metrics.layer_parts import checked_pair, number_of_parts, sums_of_layers

__all__ = ["energy_distance"]

POINTS = 1_000
PERMUTATIONS = 199


def energy_distance(
    posterior_u: Tensor,
    prior_u: Tensor,
    layout: Layout,
    *,
    generator: Generator | None = None,
    points: int = POINTS,
    permutations: int = PERMUTATIONS,
    progress: Progress = no_progress,
) -> dict[str, Metric]:
    """Return the distance between u of shape (N, D) and (M, D), rows independent: of 'all', of each 'layer_i' (0 is the top)
    and of the top k layers, 'top_k'; with the suffix '_p' the p-value of the permutation test.

    At most `points` rows of each sample are used, chosen at random. The spread of a distance is its jackknife standard
    error. Raises UsageError for fewer than 20 points and for points that are not finite.
    """
    x, y = checked_pair("energy_distance", posterior_u, prior_u, layout, points, generator)
    cuts = _cuts(len(x), len(y), permutations, generator).to(x)
    counts = f"{len(x)} posterior samples, each of another image, against {len(y)} prior samples in u-space"
    terms = map(_squared_distances, layout.columns(torch.cat([x, y])))
    parts, figures = sums_of_layers(terms, len(layout)), dict[str, Metric]()
    for name, squares in progress(parts, number_of_parts(len(layout)), "energy distances"):
        distances = squares.sqrt()
        values = _of_cuts(distances, cuts)
        # The observed split is among the permutations: that makes the test exact.
        p = float((values >= values[0]).double().mean())
        spread = _standard_error(distances, len(x))
        figures[name] = Metric(float(values[0]), spread, f"energy distance, {counts}; spread: jackknife standard error")
        figures[f"{name}_p"] = Metric(p, None, f"permutation test of the energy distance, {permutations} cuts; {counts}")
    return figures


def _cuts(n: int, m: int, permutations: int, generator: Generator | None) -> Tensor:
    """Return which points are in the first sample: as observed, then in random splits of n and m; (n + m, 1 +
    permutations)."""
    ranks = torch.rand(permutations, n + m, generator=generator).argsort(1)
    found = torch.arange(n + m)[None]
    return (torch.cat([found, ranks]) < n).T


def _squared_distances(u: Tensor) -> Tensor:
    """(N, d) -> (N, N), 0 on the diagonal."""
    u = u - u.mean(0)
    norms = u.square().sum(1)
    squares = norms[:, None] + norms[None, :] - 2 * u @ u.T
    return squares.clamp(min=0).fill_diagonal_(0)


def _of_cuts(distances: Tensor, cuts: Tensor) -> Tensor:
    """Return the estimate for each split of the points, (N, N), (N, C) -> (C,)."""
    first = (cuts * (distances @ cuts)).sum(0)
    between = distances.sum(1) @ cuts - first
    second = distances.sum() - first - 2 * between
    n = cuts[:, 0].sum()
    return _estimate(first, between, second, n, len(cuts) - n)


def _estimate(first: Tensor, between: Tensor, second: Tensor, n: Tensor | float, m: Tensor | float) -> Tensor:
    """Return E from the sums of distances within the first sample, between the two, and within the second."""
    return 2 * between / (n * m) - first / (n * (n - 1)) - second / (m * (m - 1))


def _standard_error(distances: Tensor, n: int) -> float:
    """Return the jackknife standard error over the points of both samples."""
    m = len(distances) - n
    to_first, to_second = distances[:, :n].sum(1), distances[:, n:].sum(1)
    first, between, second = to_first[:n].sum(), to_first[n:].sum(), to_second[n:].sum()
    left_out_of_first = _estimate(first - 2 * to_first[:n], between - to_second[:n], second, n - 1.0, m)
    left_out_of_second = _estimate(first, between - to_first[n:], second - 2 * to_second[n:], n, m - 1.0)
    variance = (n - 1) * left_out_of_first.var(correction=0) + (m - 1) * left_out_of_second.var(correction=0)
    return float(variance.sqrt())
