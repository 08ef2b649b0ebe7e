r"""Balls around points, each as large as the distance to the point's k-th nearest other: who is in whose.

Precision, recall, density, coverage and their clipped forms are means of functions of two counts: in how many balls a point
is, and how many points are in a ball. Their intervals are a delete-one jackknife over both sets: what the figure would lose
without this point, and without this ball, with the other balls as they are.
"""

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from priorkit.errors import UsageError
from priorkit.metrics.joint_distances import NORMAL
from priorkit.metrics.squared_distances import negligible, neighbour_distances, tiles

__all__ = ["NEIGHBOURS", "SPREAD", "Balls", "Counts", "half_width"]

NEIGHBOURS = 5
"""The k of Naeem et al. 2020 and Salvy et al. 2025."""
SPREAD = (
    "spread: half the width of a 95 % interval (normal, delete-one jackknife over the points of both sets, the other balls "
    "unchanged)"
)


@dataclass(frozen=True)
class Counts:
    """How points and balls meet, float64."""

    of_points: Tensor
    """Number of balls that contain each point, (N,)."""
    of_balls: Tensor
    """Number of points in each ball, (M,)."""


class Balls:
    """Closed balls around M points: the neighbour that sets a radius is inside, whatever the rounding."""

    def __init__(self, centres: Tensor, k: int = NEIGHBOURS, *, squared_radii: Tensor | None = None) -> None:
        """Without radii they are the distances to the k-th nearest other of `centres` (M, F): M^2 F operations.

        Raises UsageError unless there are more than k centres.
        """
        if len(centres) <= k:
            raise UsageError(f"balls of {k} neighbours need more than {k} images, got {len(centres)}")
        self.centres, self.k = centres, k
        self.squared_radii = neighbour_distances(centres, k) if squared_radii is None else squared_radii
        self._within = self.squared_radii + negligible(centres)

    def clipped(self) -> "Balls":
        """Return the same balls, none larger than the median one."""
        median = float(self.squared_radii.sqrt().quantile(0.5))  # with an even number the mean of the two middle ones
        return Balls(self.centres, self.k, squared_radii=self.squared_radii.clamp(max=median**2))

    def counts(self, points: Tensor | None = None) -> Counts:
        """Count points (N, F) and balls that meet: N M F operations. Without points those of the centres, each without its
        own ball."""
        given = self.centres if points is None else points
        of_points, of_balls = self.squared_radii.new_zeros(len(given)), torch.zeros_like(self.squared_radii)
        for down, across, squared in tiles(given, self.centres):
            inside = self._inside(down, across, squared, own=points is not None)
            of_points[down] += inside.sum(1)
            of_balls[across] += inside.sum(0)
        return Counts(of_points, of_balls)

    def sums(self, of_balls: Tensor, of_points: Tensor, points: Tensor | None = None) -> Counts:
        """Return for each point the sum of `of_balls` (M,) over its balls, and for each ball the sum of `of_points` (N,)
        over its points, as `counts` does for ones."""
        given = self.centres if points is None else points
        to_points, to_balls = self.squared_radii.new_zeros(len(given)), torch.zeros_like(self.squared_radii)
        for down, across, squared in tiles(given, self.centres):
            inside = self._inside(down, across, squared, own=points is not None).double()
            to_points[down] += inside @ of_balls[across]
            to_balls[across] += of_points[down] @ inside
        return Counts(to_points, to_balls)

    def _inside(self, down: slice, across: slice, squared: Tensor, *, own: bool) -> Tensor:
        if not own and down == across:
            squared.fill_diagonal_(torch.inf)
        return squared <= self._within[across]


def half_width(*losses: Tensor) -> float:
    """Return half a 95 % interval of a figure from what it loses without each point of each independent set, (N,) each."""
    return NORMAL * sqrt(sum((len(each) - 1) * float(each.var(correction=0)) for each in losses))
