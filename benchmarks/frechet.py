"""The Fréchet distance of two sets of features, ours and torch-fidelity's in the same run: seconds and difference.

    python benchmarks/frechet.py --write docs/results/frechet.md

Features are random, with standard deviations from 1 down to 1/1000 in random directions.  Both sides get statistics that are
computed already, and take turns; the clock is the processor's.  "truth" is from singular values of factors of the points,
which are never squared.
"""

import platform

import torch
from clock import Clock
from command_line import benchmark_parser, given_command, publish
from markdown_table import markdown_table
from torch import Tensor

from priorkit.metrics import frechet_distance, statistics
from priorkit.metrics.fidelity_library import fidelity_library

CASES = ((512, 10_000, 10_000), (512, 300, 10_000), (2_048, 10_000, 10_000), (2_048, 1_000, 10_000), (4_000, 10_000, 10_000))
"""Features, points of one set, points of the other."""


def points(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Features (count, size), float64."""
    basis = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=generator)).Q
    scale = torch.logspace(0, -3, size, dtype=torch.float64)
    return (torch.randn(count, size, dtype=torch.float64, generator=generator) * scale) @ basis


def factor(values: Tensor) -> Tensor:
    """R with R^T R the covariance of points (N, F)."""
    return torch.linalg.qr((values - values.mean(0)) / (len(values) - 1) ** 0.5, mode="r").R


def row(size: int, first: int, second: int, rounds: int, clock: Clock) -> list[str]:
    """The cells of one case."""
    generator, library = torch.Generator().manual_seed(size), fidelity_library()
    x, y = points(first, size, generator), points(second, size, generator)
    a, b = statistics(x), statistics(y)
    theirs = [{"mu": one.mean.numpy(), "sigma": one.covariance.numpy()} for one in (a, b)]
    found: dict[str, float] = {}

    def ours() -> None:
        # The factor is kept with the statistics: new ones, as for a set that is new.
        found["ours"] = frechet_distance(*(type(one)(one.mean, one.covariance, one.count) for one in (a, b)))

    def other() -> None:
        found["other"] = library.fid_statistics_to_metric(*theirs, False)["frechet_inception_distance"]

    seconds = clock.medians({"ours": ours, "other": other}, rounds, warm=True)
    overlap = torch.linalg.svdvals(factor(x) @ factor(y).T).sum()
    squared = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * overlap
    errors = [f"{abs(value / float(squared) - 1):.0e}" for value in (found["ours"], found["other"])]
    times = [f"{seconds['ours']:.2f}", f"{seconds['other']:.2f}", f"{seconds['other'] / seconds['ours']:.1f}"]
    return [f"{size:,}", f"{first:,}", f"{second:,}", *times, *errors]


def main() -> None:
    """The command."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    clock = Clock(torch.device("cpu"), "processor")
    head = ["features", "points", "other points", "seconds", "torch-fidelity", "ratio", "relative error", "torch-fidelity's"]
    table = markdown_table(head, [row(*case, given.rounds, clock) for case in CASES])
    machine = f"{platform.machine()} CPU, torch {torch.__version__}, 1 thread, processor's seconds"
    command = given_command("benchmarks/frechet.py", parser, given)
    publish(f"`{command}`: {machine}, torch-fidelity {fidelity_library().version}.\n\n{table}", given.write)


if __name__ == "__main__":
    main()
