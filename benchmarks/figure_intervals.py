"""How often the intervals of the figures of image features contain the mean of repeated samples of Gaussians.

    python benchmarks/figure_intervals.py --write docs/results/figure-intervals.md

Prints the table of the page Evaluation.
"""

import torch
from command_line import benchmark_parser, publish
from markdown_table import markdown_table
from torch import Generator

from priorkit.metrics import Metric
from priorkit.metrics.clipped_coverage import ClippedBalls, clipped_coverage
from priorkit.metrics.copying_test import CopyingTest
from priorkit.metrics.density_coverage import density_and_coverage
from priorkit.metrics.kernel_distance import KernelDistance
from priorkit.metrics.neighbour_balls import Balls
from priorkit.metrics.precision_recall import precision_and_recall

GENERATED, HELDOUT, TRAINING = 200, 300, 400
CASES = ((2, 0.0), (2, 1.0), (16, 0.0), (16, 0.3))
"""Dimension, and the shift of generated images in each coordinate."""


def figures(size: int, shift: float, generator: Generator) -> dict[str, Metric]:
    """All figures of new samples."""
    x, y, training = (torch.randn(n, size, generator=generator) for n in (GENERATED, HELDOUT, TRAINING))
    x, balls = x + shift, Balls(y)
    met = balls.counts(x)
    found = precision_and_recall(x, balls, met, "") | density_and_coverage(x, balls, met, "")
    found["clipped_density"] = ClippedBalls(balls).density(x, "")
    found["clipped_coverage"] = clipped_coverage(x, balls, met, "")
    found["kd"] = KernelDistance(y).of(x, "")
    return found | {"c_t": CopyingTest(training, y, cells=3).of(x, "")}


def covered(repeats: int, size: int, shift: float) -> dict[str, float]:
    """The share of intervals that contain the mean of all repetitions."""
    generator, values = torch.Generator().manual_seed(0), dict[str, list[Metric]]()
    for _ in range(repeats):
        for name, figure in figures(size, shift, generator).items():
            values.setdefault(name, []).append(figure)
    means = {name: sum(each.value for each in found) / repeats for name, found in values.items()}
    return {
        name: sum(abs(each.value - means[name]) <= (each.spread or 0.0) for each in found) / repeats
        for name, found in values.items()
    }


def main() -> None:
    """The command."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=400)
    arguments = parser.parse_args()
    found = [covered(arguments.repeats, *case) for case in CASES]
    heads = ["metric", *(f"{size} dimensions, " + (f"shifted by {shift}" if shift else "equal") for size, shift in CASES)]
    rows = [[f"`{name}`", *(f"{100 * case[name]:.0f} %" for case in found)] for name in found[0]]
    told = (
        f"`python benchmarks/figure_intervals.py`: {arguments.repeats} repetitions with {GENERATED} generated, {HELDOUT} "
        f"held-out and {TRAINING} training points; new ones in each, also the training points of `c_t`, which its interval "
        "takes as fixed.\n\n"
    )
    publish(told + markdown_table(heads, rows), arguments.write)


if __name__ == "__main__":
    main()
