r"""The kernel distance between two sets of features: the unbiased squared MMD of Bińkowski et al. 2018 (KID, if the features
are Inception's), under :math:`k(x, y) = (x^\top y / F + 1)^3`, of all points at once.

Without subsets it uses every pair, so that it is as exact as few images allow, and unbiased at any number of them, unlike
the Fréchet distance. The interval is a delete-one jackknife over both sets. If the distributions agree, the estimate is
quadratic in its errors and the jackknife gives twice its variance: the interval is then too wide by a factor of 1.4.
"""

from collections.abc import Callable
from functools import cached_property

from torch import Tensor

from priorkit.core import Metric
from priorkit.errors import UsageError
from priorkit.metrics.neighbour_balls import half_width
from priorkit.metrics.squared_distances import TILE

__all__ = ["SPREAD", "KernelDistance", "kernel_sums"]

SPREAD = "spread: half the width of a 95 % interval (normal, delete-one jackknife over the images of both sets)"


class KernelDistance:
    """Compares sets of features with those of real images."""

    def __init__(self, real: Tensor) -> None:
        """`real` are features (M, F). Raises UsageError for fewer than 3 images."""
        self.real = _enough(real, "real").double()

    @cached_property
    def within(self) -> Tensor:
        """The sum of k of each real image with the others, (M,), float64: M^2 F operations, once for all sets."""
        return _sums_within(self.real)

    def of(self, generated: Tensor, against: str) -> Metric:
        """Return the distance of features (N, F): N M F and N^2 F operations. Raises UsageError for fewer than 3 images."""
        x, y = _enough(generated, "generated").double(), self.real
        n, m = len(x), len(y)
        within, (from_x, from_y) = _sums_within(x), kernel_sums(x, y, _kernel)
        both, between, real = within.sum(), from_x.sum(), self.within.sum()
        value = float(_estimate(both, between, real, n, m))
        without_x = _estimate(both - 2 * within, between - from_x, real, n - 1, m)
        without_y = _estimate(both, between - from_y, real - 2 * self.within, n, m - 1)
        protocol = f"unbiased squared MMD, cubic polynomial kernel, {against}; {SPREAD}"
        return Metric(value, half_width(without_x, without_y), protocol)


def _enough(points: Tensor, which: str) -> Tensor:
    if len(points) < 3:
        raise UsageError(f"kernel distance: at least 3 {which} images are needed, got {len(points)}")
    return points


def _estimate(first: Tensor, between: Tensor, second: Tensor, n: int, m: int) -> Tensor:
    """Return the estimate from the sums of k over pairs of generated images, of both, and of real images."""
    return first / (n * (n - 1)) + second / (m * (m - 1)) - 2 * between / (n * m)


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _sums_within(x: Tensor) -> Tensor:
    """Return the sum of k of each point with the others, (N,)."""
    return kernel_sums(x, x, _kernel)[0] - (x.square().mean(1) + 1) ** 3


def kernel_sums(x: Tensor, y: Tensor, kernel: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Return the sums of a kernel over y (M, F) for each x, (N,), and over x (N, F) for each y, (M,), tile by tile."""
    of_x, of_y = x.new_zeros(len(x)), y.new_zeros(len(y))
    for i in range(0, len(x), TILE):
        for j in range(0, len(y), TILE):
            tile = kernel(x[i : i + TILE], y[j : j + TILE])
            of_x[i : i + TILE] += tile.sum(1)
            of_y[j : j + TILE] += tile.sum(0)
    return of_x, of_y
