r"""Density and coverage (Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics for Generative Models", eq. 4 and 5).

- Density: the mean number of real images' k-nearest-neighbour balls that contain a generated image, divided by k. It is 1 on
  average if both distributions agree, and can exceed 1.
- Coverage: the share of real images whose ball contains a generated image. With N generated and M real images of one
  distribution it is on average :math:`1 - \prod_{i=1}^{k} (M - i) / (N + M - i)`, close to 1.
"""

import torch
from torch import Tensor

from priorkit.core import Metric
from priorkit.metrics.neighbour_balls import SPREAD, Balls, Counts, half_width

__all__ = ["density_and_coverage", "expected_coverage"]


def density_and_coverage(generated: Tensor, real: Balls, met: Counts, against: str) -> dict[str, Metric]:
    """Return 'density' and 'coverage' of features (N, F) of generated images.

    `met` are the counts of `real` for them. Costs N M F operations more. `against` says in the protocol what was compared.
    """
    n, m, k = len(met.of_points), len(met.of_balls), real.k
    protocol = f"k-nearest-neighbour balls of real images, k = {k}, {against}; {SPREAD}"
    dense = half_width(met.of_points / (k * max(1, n - 1)), met.of_balls / (k * n))
    covered = (met.of_balls > 0).double()
    # Without one generated image, the balls are lost that contain no other.
    only = real.sums((met.of_balls == 1).double(), torch.zeros_like(met.of_points), generated).of_points
    spread = max(half_width(covered / (m - 1), only / m), 3 / m)
    return {
        "density": Metric(
            float(met.of_points.mean()) / k, dense, f"mean number of balls that contain a generated image over k, {protocol}"
        ),
        "coverage": Metric(
            float(covered.mean()), spread,
            f"share of real images in whose ball a generated one is, {protocol}, at least 3 / number of real images; "
            f"{expected_coverage(n, m, k):.3f} on average for one distribution",
        ),
    }  # fmt: skip


def expected_coverage(n: int, m: int, k: int) -> float:
    """Return the mean coverage of n generated and m real images of the same distribution."""
    missed = 1.0
    for i in range(1, k + 1):
        missed *= (m - i) / (n + m - i)
    return 1 - missed
