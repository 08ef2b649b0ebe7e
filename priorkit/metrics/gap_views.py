"""What the classifiers of `gap_auc` see of a layer, and of all layers together: features that know nothing of the labels.

Small layers are seen column by column.  A map (channels, height, width) of side 4 or more is also seen through moments
averaged over its positions: powers of each channel, and products of two channels at the same and at neighbouring
positions.  The log ratio of two stationary Gaussian random fields with short range is linear in them, so few numbers show
what hundreds of columns hide.  All layers together are seen through coarse versions, small enough for a Gaussian's
covariance, and through products of maps of two layers.
"""

from itertools import pairwise

import torch
from torch import Generator, Tensor
from torch.nn.functional import adaptive_avg_pool2d

from priorkit.core import Layout
from priorkit.metrics.two_sample import View, gaussian, linear, trees

__all__ = ["joint_views", "layer_views"]

MIN_SIDE = 4
FOR_TREES, FEWER_FOR_TREES, FOR_LINEAR = 128, 48, 320
"""Largest numbers of features that one training sees."""
CANDIDATES = 2_048
"""Columns of a layer among which the trees' are chosen; more would need gigabytes to sort."""
CHANNELS = 16
"""Channels whose products with each other are formed; each channel's products with itself always are."""


def layer_views(u: Tensor, shape: tuple[int, ...], limit: int, generator: Generator | None) -> list[View]:
    """Return the views of one layer's u (N, size); Gaussians are fitted to at most `limit` columns."""
    views = [View(gaussian, _coarse(u, shape, limit, generator))]
    moments = map_moments(_as_map(u, shape), generator) if _is_map(shape) else power_means(u[:, None])
    if _is_map(shape):
        views.append(View(linear, moments, FOR_LINEAR))
    if u.shape[1] > limit:
        columns = u[:, _some(u.shape[1], CANDIDATES, generator)]
        return [*views, View(trees, torch.cat([columns, moments], dim=1), FEWER_FOR_TREES)]
    views.append(View(trees, u, FOR_TREES))
    return [*views, View(trees, moments, FEWER_FOR_TREES)] if _is_map(shape) else views


def joint_views(u: Tensor, layout: Layout, limit: int, generator: Generator | None) -> list[View]:
    """Return the views of all layers of u (N, D) together, for what depends on more than one of them."""
    parts, each = layout.columns(u), limit // len(layout)
    coarse = u
    if layout.dim > limit:
        pairs = zip(parts, layout.shapes, strict=True)
        coarse = torch.cat([_coarse(part, shape, each, generator) for part, shape in pairs], dim=1)
    maps = [_as_map(part, shape) for part, shape in zip(parts, layout.shapes, strict=True) if _is_map(shape)]
    if len(maps) < 2:
        return [View(gaussian, coarse), View(trees, coarse, FOR_TREES)]
    some = [m[:, _some(m.shape[1], CHANNELS // 2, generator)] for m in maps]
    near = [*pairwise(some), *zip(some, some[2:], strict=False)]
    products = torch.cat([_products_of_layers(a, b) for a, b in near], dim=1)
    both = torch.cat([coarse, products], dim=1)
    return [View(gaussian, coarse), View(linear, products, FOR_LINEAR), View(trees, both, FEWER_FOR_TREES)]


def power_means(values: Tensor) -> Tensor:
    """Return the mean, root mean square, mean cube and root mean fourth power of (N, C, positions): (N, 4 C)."""
    square = values.square()
    means = [values.mean(-1), square.mean(-1).sqrt(), (square * values).mean(-1), square.square().mean(-1).sqrt()]
    return torch.cat(means, dim=1)


def map_moments(maps: Tensor, generator: Generator | None) -> Tensor:
    """Return moments of (N, C, H, W), averaged over positions: powers, and products at and between neighbours."""
    some = _some(maps.shape[1], CHANNELS, generator)
    upper = torch.triu_indices(len(some), len(some), 1)
    found = [power_means(maps.flatten(2)), _products(maps[:, some], maps[:, some])[:, upper[0], upper[1]]]
    height, width = maps.shape[2:]
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        first = maps[:, :, : height - down, max(-right, 0) : width - max(right, 0)]
        second = maps[:, :, down:, max(right, 0) : width - max(-right, 0)]
        own = (first * second).mean((2, 3))
        products = _products(first[:, some], second[:, some])
        others = ~torch.eye(len(some), dtype=torch.bool)
        found += [own, products[:, others]]
    return torch.cat(found, dim=1)


def _products(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean over positions of all products of channels: (N, C, C')."""
    a, b = first.flatten(2), second.flatten(2)
    return a @ b.transpose(1, 2) / a.shape[2]


def _products_of_layers(first: Tensor, second: Tensor) -> Tensor:
    """Return products of the channels of two layers' maps, (N, C C'), the finer map averaged to the coarser's size."""
    size = (min(first.shape[2], second.shape[2]), min(first.shape[3], second.shape[3]))
    return _products(adaptive_avg_pool2d(first, size), adaptive_avg_pool2d(second, size)).flatten(1)


def _coarse(u: Tensor, shape: tuple[int, ...], limit: int, generator: Generator | None) -> Tensor:
    """Return u (N, size) itself, a map's averages over blocks, or some columns and the power means; about `limit`."""
    if u.shape[1] <= limit:
        return u
    side = int((limit / shape[0]) ** 0.5) if _is_map(shape) else 0
    if side:
        return adaptive_avg_pool2d(_as_map(u, shape), (min(side, shape[1]), min(side, shape[2]))).flatten(1)
    return torch.cat([u[:, _some(u.shape[1], limit, generator)], power_means(u[:, None])], dim=1)


def _some(count: int, limit: int, generator: Generator | None) -> Tensor:
    """Return all of `count` numbers, or as many as the limit allows, at random and in order."""
    return torch.arange(count) if count <= limit else torch.randperm(count, generator=generator)[:limit].sort().values


def _as_map(u: Tensor, shape: tuple[int, ...]) -> Tensor:
    return u.reshape(len(u), *shape)


def _is_map(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and min(shape[1:]) >= MIN_SIDE
