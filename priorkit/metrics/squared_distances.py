"""Squared Euclidean distances between two sets of points, tile by tile, in float64.

Float64, so that small distances survive the cancellation in |x|^2 - 2 x.y + |y|^2.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["TILE", "columns_of", "nearest", "negligible", "neighbour_distances", "rows_of", "tiles"]

TILE = 512
"""Rows and columns of the distances computed at once, 2 MiB: sizes that fit into a core's cache are fastest."""

SAME = 1e-5
"""Points nearer than this fraction of the features' norm count as equal: features of one image differ by the rounding of
float32, which depends on the batch."""


def negligible(points: Tensor) -> float:
    """Return the squared distance of points (N, F) up to which they count as equal."""
    centred = points.double() - points.double().mean(0)
    return SAME**2 * float(centred.square().sum(1).mean())


def rows_of(points: Tensor) -> Tensor:
    """Return (N, F + 2), which times `columns_of` is the squared distances."""
    norms = points.square().sum(1, keepdim=True)
    return torch.cat([-2 * points, norms, torch.ones_like(norms)], dim=1)


def columns_of(points: Tensor) -> Tensor:
    """Return (F + 2, M)."""
    norms = points.square().sum(1, keepdim=True)
    return torch.cat([points, torch.ones_like(norms), norms], dim=1).T.contiguous()


def tiles(rows: Tensor, columns: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield the squared distances of points (N, F) to points (M, F), as slices of rows and of columns, and their tile.

    N M F operations; no more than one tile is in memory.
    """
    centre = columns.double().mean(0)
    left, right = rows_of(rows.double() - centre), columns_of(columns.double() - centre)
    for i in range(0, len(rows), TILE):
        for j in range(0, len(columns), TILE):
            down, across = slice(i, i + TILE), slice(j, j + TILE)
            yield down, across, (left[down] @ right[:, across]).clamp(min=0)


def nearest(points: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Return the squared distance of each of points (N, F) to the nearest of the others (M, F), and its index, (N,) each.

    N M F operations. Infinity and 0 if there are no others.
    """
    least = points.new_full((len(points),), torch.inf, dtype=torch.float64)
    index = torch.zeros(len(points), dtype=torch.long, device=points.device)
    for down, across, squared in tiles(points, others):
        found, where = squared.min(1)
        closer = found < least[down]
        least[down][closer] = found[closer]
        index[down][closer] = where[closer] + across.start
    return least, index


def neighbour_distances(points: Tensor, k: int) -> Tensor:
    """Return the squared distance of each of points (N, F) to its k-th nearest other, (N,), float64; N > k. N^2 F
    operations."""
    nearest = points.new_full((len(points), k), torch.inf, dtype=torch.float64)
    for down, across, squared in tiles(points, points):
        if down == across:
            squared.fill_diagonal_(torch.inf)
        nearest[down] = torch.cat([nearest[down], squared], dim=1).topk(k, largest=False).values
    return nearest.amax(1)
