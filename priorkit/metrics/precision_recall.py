"""Improved precision and recall (Kynkäänniemi et al. 2019, eq. 1 and 2): the share of generated images within the
k-nearest-neighbour ball of a real one, and of real images within that of a generated one."""

import torch
from torch import Tensor

from priorkit.core import Metric
from priorkit.metrics.neighbour_balls import SPREAD, Balls, Counts, half_width

__all__ = ["precision_and_recall"]


def precision_and_recall(generated: Tensor, real: Balls, met: Counts, against: str) -> dict[str, Metric]:
    """Return 'precision' and 'recall' of features (N, F) of generated images.

    `met` are the counts of `real` for them. Costs N^2 F and three times N M F operations. `against` says in the protocol
    what was compared. Raises UsageError for too few images.
    """
    own = Balls(generated, real.k)
    protocol = f"k-nearest-neighbour balls, k = {real.k}, {against}; {SPREAD}"
    return {
        "precision": _share(generated, real, met, f"share of generated images in the ball of a real one, {protocol}"),
        "recall": _share(
            real.centres, own, own.counts(real.centres), f"share of real images in the ball of a generated one, {protocol}"
        ),
    }


def _share(points: Tensor, balls: Balls, met: Counts, protocol: str) -> Metric:
    """Return the share of points in any ball."""
    inside = (met.of_points > 0).double()
    # Without one ball, the points are lost that are in no other.
    only = balls.sums(torch.zeros_like(balls.squared_radii), (met.of_points == 1).double(), points).of_balls
    spread = half_width(inside / max(1, len(points) - 1), only / len(points))
    # If all images are alike, the share can still be 3 / N away (95 %).
    return Metric(float(inside.mean()), max(spread, 3 / len(points)), f"{protocol}, at least 3 / number of images")
