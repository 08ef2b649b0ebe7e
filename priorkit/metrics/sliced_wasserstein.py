r"""The sliced Wasserstein distance between two samples.

.. math:: SW_2 = \Big(\mathrm{E}_\theta\, W_2^2(\theta^\top X, \theta^\top Y)\Big)^{1/2}

over directions :math:`\theta` uniform on the sphere (Bonneel et al. 2015, "Sliced and Radon Wasserstein barycenters of
measures").  In one dimension :math:`W_2` pairs the sorted points.  A shift by d gives |d| / sqrt(D), a scale by c gives
|c - 1| on N(0, I), so layers of different sizes can be compared; for two samples of one distribution it is close to 0.
"""

from math import hypot

import torch
from torch import Generator, Tensor

from priorkit.core import Layout, Progress, no_progress
from priorkit.core.metric import Metric
from priorkit.metrics.layer_parts import checked_pair, number_of_parts, sums_of_layers

__all__ = ["sliced_wasserstein"]

POINTS = 1_000
DIRECTIONS = 128
RESAMPLES = 20


def sliced_wasserstein(
    posterior_u: Tensor,
    prior_u: Tensor,
    layout: Layout,
    *,
    generator: Generator | None = None,
    points: int = POINTS,
    directions: int = DIRECTIONS,
    progress: Progress = no_progress,
) -> dict[str, Metric]:
    """Return the distance between u of shape (N, D) and (M, D), rows independent: of 'all', of each 'layer_i' (0 is the top)
    and of the top k layers, 'top_k'.

    The same number of rows of both samples is used, at most `points`, chosen at random. The spread is the standard deviation
    over bootstrap resamples and over the choice of directions. Raises UsageError for fewer than 20 points and for points
    that are not finite.
    """
    count = min(points, len(posterior_u), len(prior_u))
    x, y = checked_pair("sliced_wasserstein", posterior_u, prior_u, layout, count, generator)
    drawn = torch.randn(directions, layout.dim, generator=generator, dtype=torch.float64).to(x.device)
    chosen = torch.randint(count, (2, RESAMPLES, count), generator=generator).to(x.device)
    protocol = (
        f"sliced Wasserstein-2 distance in u-space, {count} posterior samples, each of another image, against as many prior "
        f"samples, {directions} directions; spread: standard deviation over {RESAMPLES} resamples and over directions"
    )
    pairs = zip(layout.columns(torch.cat([x, y])), layout.columns(drawn), strict=True)
    parts, figures = sums_of_layers((_projected(*pair) for pair in pairs), len(layout)), dict[str, Metric]()
    for name, term in progress(parts, number_of_parts(len(layout)), "sliced Wasserstein distances"):
        a, b = torch.split(term[:, 1:] / term[:, :1].sqrt(), count, dim=1)
        resampled = float(_distance(a[:, chosen[0]], b[:, chosen[1]]).std())
        figures[name] = Metric(float(_distance(a, b)), hypot(resampled, _error_of_directions(a, b)), protocol)
    return figures


def _projected(u: Tensor, drawn: Tensor) -> Tensor:
    """Return points (N, d) along directions (K, d), preceded by the directions' squared lengths: (K, 1 + N)."""
    return torch.cat([drawn.square().sum(1, keepdim=True), drawn @ u.T], dim=1)


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the distance of points along K directions, (K, ..., N) each: (...)."""
    return _squares(a, b).mean(0).sqrt()


def _squares(a: Tensor, b: Tensor) -> Tensor:
    """Return W_2^2 along each of K directions, (K, ..., N) each: (K, ...)."""
    return (a.sort(-1).values - b.sort(-1).values).square().mean(-1)


def _error_of_directions(a: Tensor, b: Tensor) -> float:
    """Return the standard error of the distance due to using K directions instead of all, by the delta method.

    All resamples share the directions. Under a shift, to which most directions are almost orthogonal, this is the larger
    part.
    """
    squares = _squares(a, b)
    error = squares.std() / len(squares) ** 0.5 if len(squares) > 1 else squares.new_zeros(())
    return float(error / (2 * squares.mean().sqrt().clamp(min=torch.finfo(torch.float64).tiny)))
