"""The share of images that are near copies of training images, relative to the distances between training images.

An image counts as copied if it is nearer to its nearest training image than that one is to its nearest other training image.
The share is not 0 for a perfect generator: new points from the distribution of the training data are copied in this sense
with the probability that two of them are each other's nearest neighbours, 2/3 on a line and closer to 1/2 in more
dimensions. So the share of held-out images is the level to compare with.
"""

from math import sqrt

import torch
from torch import Tensor
from torch.nn.functional import threshold

from priorkit.errors import UsageError
from priorkit.metrics.joint_distances import NORMAL

__all__ = ["copied", "further_end", "nearest_others"]

TILE = 512
"""Rows and columns of the distances computed at once, 2 MiB: sizes that fit into a core's cache are fastest."""
SAME = 1e-5
"""Points nearer than this fraction of the features' norm count as equal: features of one image differ by the rounding of
float32, which depends on the batch."""


def nearest_others(training: Tensor) -> Tensor:
    """Return the distance of the features of each training image (M, F) to its nearest other, (M,), float64.

    Exact copies among them count as one image. Uses M^2 F operations, and memory for four float64 copies of the features.
    Raises UsageError if there are not two different ones.
    """
    centred = training.double() - training.double().mean(0)
    same = _same(centred)
    left, right = _left(centred), _right(centred)
    found = centred.new_full((len(centred),), torch.inf)
    for i in range(0, len(centred), TILE):
        for j in range(i, len(centred), TILE):
            # Each pair once, for its row and its column; a point's distance to itself is below the threshold too.
            squared = threshold(left[i : i + TILE] @ right[:, j : j + TILE], same, torch.inf)
            rows, columns = found[i : i + TILE], found[j : j + TILE]
            rows.copy_(torch.minimum(rows, squared.amin(1)))
            columns.copy_(torch.minimum(columns, squared.amin(0)))
    if not bool(found.isfinite().all()):
        raise UsageError("there are no two different training images in feature space")
    return found.sqrt()


def copied(features: Tensor, training: Tensor, others: Tensor) -> float:
    """Return the share of images, of features (N, F), that are nearer to their nearest training image than that one to its
    own.

    `training` (M, F) are the training images' features, `others` (M,) the result of `nearest_others` for them.
    """
    centre = training.double().mean(0)
    images, right = _left(features.double() - centre), _right(training.double() - centre)
    squared = images.new_full((len(images),), torch.inf)
    nearest = torch.zeros(len(images), dtype=torch.long, device=images.device)
    for i in range(0, len(images), TILE):
        for j in range(0, right.shape[1], TILE):
            least, where = (images[i : i + TILE] @ right[:, j : j + TILE]).min(1)
            closer = least < squared[i : i + TILE]
            squared[i : i + TILE][closer] = least[closer]
            nearest[i : i + TILE][closer] = where[closer] + j
    return float((squared.clamp(min=0).sqrt() < others[nearest]).double().mean())


def further_end(share: float, count: int) -> float:
    """Return the distance of a share to the farther end of its 95 % Wilson interval, for so many independent images.

    Close to the usual binomial half-width, but not 0 if the share is 0 or 1.
    """
    weight = NORMAL**2 / count
    middle = (share + weight / 2) / (1 + weight)
    half = sqrt(weight * share * (1 - share) + weight**2 / 4) / (1 + weight)
    return abs(middle - share) + half


def _same(centred: Tensor) -> float:
    """Return the squared distance up to which points count as equal."""
    return SAME**2 * float(centred.square().sum(1).mean())


def _left(points: Tensor) -> Tensor:
    """Return (N, F + 2), which times `_right` is the squared distances; float64, so that small ones survive the
    cancellation."""
    norms = points.square().sum(1, keepdim=True)
    return torch.cat([-2 * points, norms, torch.ones_like(norms)], dim=1)


def _right(points: Tensor) -> Tensor:
    """Return (F + 2, M)."""
    norms = points.square().sum(1, keepdim=True)
    return torch.cat([points, torch.ones_like(norms), norms], dim=1).T.contiguous()
