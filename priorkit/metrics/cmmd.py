r"""CMMD (Jayasumana et al. 2024, "Rethinking FID: towards a better evaluation metric for image generation").

.. math:: 1000 \Big(\frac{1}{n^2} \sum_{i,j} k(x_i, x_j) + \frac{1}{m^2} \sum_{i,j} k(y_i, y_j)
    - \frac{2}{n m} \sum_{i,j} k(x_i, y_j)\Big), \quad k(x, y) = \exp\Big(-\frac{|x - y|^2}{2 \cdot 10^2}\Big)

on embeddings of CLIP of length 1. The sums are over all pairs, i = j included, as in the authors' program: at equal
distributions it is above 0, by about :math:`1000 (1 - \mathrm{E} k) (1/n + 1/m)`.
"""

from torch import Tensor

from priorkit.core import Metric
from priorkit.errors import UsageError
from priorkit.metrics.kernel_distance import SPREAD, kernel_sums
from priorkit.metrics.neighbour_balls import half_width

__all__ = ["cmmd"]

SIGMA, FACTOR = 10.0, 1_000.0


def cmmd(generated: Tensor, real: Tensor, against: str) -> Metric:
    """Return the distance of embeddings (N, F) and (M, F): N^2 F, M^2 F and N M F operations.

    `against` are images, counts and features, for the protocol. Raises UsageError for fewer than 2 images.
    """
    x, y = generated.double(), real.double()
    n, m = len(x), len(y)
    if min(n, m) < 2:
        raise UsageError(f"cmmd: at least 2 images of each set are needed, got {n} and {m}")
    of_x, of_y = kernel_sums(x, x, _kernel)[0], kernel_sums(y, y, _kernel)[0]
    from_x, from_y = kernel_sums(x, y, _kernel)
    inner, outer, between = of_x.sum(), of_y.sum(), from_x.sum()

    def estimate(of_first: Tensor, of_both: Tensor, of_second: Tensor, n: int, m: int) -> Tensor:
        return FACTOR * (of_first / n**2 + of_second / m**2 - 2 * of_both / (n * m))

    # Without an image its row and its column go; k of an image with itself is 1.
    without_x = estimate(inner - 2 * of_x + 1, between - from_x, outer, n - 1, m)
    without_y = estimate(inner, between - from_y, outer - 2 * of_y + 1, n, m - 1)
    protocol = f"1,000 times the squared MMD, Gaussian kernel of sigma 10, all pairs, {against}; {SPREAD}"
    return Metric(float(estimate(inner, between, outer, n, m)), half_width(without_x, without_y), protocol)


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    squared = x.square().sum(1)[:, None] - 2 * x @ y.T + y.square().sum(1)
    return (-squared / (2 * SIGMA**2)).exp()
