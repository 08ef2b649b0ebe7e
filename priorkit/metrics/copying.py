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
from priorkit.metrics.squared_distances import TILE, columns_of, nearest, negligible, rows_of

__all__ = ["copied", "further_end", "nearest_others"]


def nearest_others(training: Tensor) -> Tensor:
    """Return the distance of the features of each training image (M, F) to its nearest other, (M,), float64.

    Exact copies among them count as one image. Uses M^2 F operations, and memory for four float64 copies of the features.
    Raises UsageError if there are not two different ones.
    """
    centred = training.double() - training.double().mean(0)
    same = negligible(training)
    left, right = rows_of(centred), columns_of(centred)
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
    squared, index = nearest(features, training)
    return float((squared.sqrt() < others[index]).double().mean())


def further_end(share: float, count: int) -> float:
    """Return the distance of a share to the farther end of its 95 % Wilson interval, for so many independent images.

    Close to the usual binomial half-width, but not 0 if the share is 0 or 1.
    """
    weight = NORMAL**2 / count
    middle = (share + weight / 2) / (1 + weight)
    half = sqrt(weight * share * (1 - share) + weight**2 / 4) / (1 + weight)
    return abs(middle - share) + half
