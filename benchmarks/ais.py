"""log Z by annealed importance sampling where the truth is known: is it right, and is its interval honest?

    python benchmarks/ais.py --write docs/results/ais.md

Densities over u are written as exp(f(u)) N(u; 0, I).  The checkerboard's log ratio is a smooth board, or that of the
uniform distribution on its squares, which has hard edges; its truth comes from quadrature, or from its area.  Mixtures are
four Gaussians with modes at distance 2.5 from the origin, deviations 0.5 to 0.7 and unequal weights, in 2 to 32
dimensions; their truth is a constant that was added to f.  With `--run` the log Z of a run's prior is measured 20 times:
there is no truth, but the spread over the repeats can be laid beside the interval.
"""

import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import log, pi, tau
from pathlib import Path

import torch
from command_line import benchmark_parser, publish
from markdown_table import markdown_table
from torch import Tensor

from priorkit.data import toy
from priorkit.metrics.annealed import LogZ, annealed_log_z
from priorkit.metrics.toy_nll import log_normaliser

SCALE = 2.3
"""Side of the board's squares in units of u: 2 / SCALE."""
DIMENSIONS = (2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Problem:
    """A log ratio, (B, dim) -> (B,), and its log Z, where that is known."""

    name: str
    dim: int
    log_ratio: Callable[[Tensor], Tensor]
    truth: float | None


def smooth_board() -> Problem:
    """Four by four squares, high where the checkerboard is, by quadrature."""

    def log_ratio(u: Tensor) -> Tensor:
        x = SCALE * u
        waves = torch.sin(pi * x[:, 0] / 2) * torch.sin(pi * x[:, 1] / 2)
        return 4 * torch.tanh(3 * waves) - torch.nn.functional.softplus(8 * (x.abs().amax(1) - 4))

    def density(u: Tensor) -> Tensor:
        return log_ratio(u) - 0.5 * u.square().sum(1) - log(tau)

    return Problem("checkerboard, smooth", 2, log_ratio, log_normaliser(density, ((-6, 6), (-6, 6)), points=1201).value)


def hard_board() -> Problem:
    """The toy's own density over N(0, I): -inf outside of its squares."""
    board = toy("checkerboard")
    return Problem(
        "checkerboard, hard edges", 2,
        lambda u: board.log_density(SCALE * u) + 0.5 * u.square().sum(1), -log(tau) - 2 * log(SCALE),
    )  # fmt: skip


def mixture(dim: int, *, seed: int = 0, modes: int = 4, radius: float = 2.5, truth: float = 3.0) -> Problem:
    """Gaussians around points of a sphere."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(modes, dim, generator=generator)
    centres = radius * centres / torch.linalg.vector_norm(centres, dim=1, keepdim=True)
    weights = torch.rand(modes, generator=generator) + 0.5
    sigmas = 0.5 + 0.2 * torch.rand(modes, generator=generator)
    constants = (weights / weights.sum()).log() - dim * sigmas.log() + truth

    def log_ratio(u: Tensor) -> Tensor:
        squares = (u[:, None] - centres).square().sum(2)
        return (constants - 0.5 * squares / sigmas.square()).logsumexp(1) + 0.5 * u.square().sum(1)

    return Problem(f"mixture, {dim} dimensions", dim, log_ratio, truth)


def of_run(run: Path) -> Problem:
    """The learned prior of a run."""
    from priorkit import load

    model = load(run)
    return Problem(run.name, model.backbone.layout.dim, model.prior.log_ratio, None)


def repeated(problem: Problem, repeats: int, chains: int) -> tuple[list[LogZ], float]:
    """As many estimates with seeds 0, 1, ..., and the seconds of one."""
    begun = time.perf_counter()
    found = [
        annealed_log_z(problem.log_ratio, problem.dim, chains=chains, generator=torch.Generator().manual_seed(seed))
        for seed in range(repeats)
    ]
    return found, (time.perf_counter() - begun) / repeats


def row(problem: Problem, repeats: int, chains: int) -> list[str]:
    """A line of the table."""
    found, seconds = repeated(problem, repeats, chains)
    values = [one.value for one in found]
    centre = statistics.mean(values) if problem.truth is None else problem.truth
    inside = sum(one.low <= centre <= one.high for one in found)
    error = statistics.mean(abs(value - centre) for value in values)
    lower, upper = (statistics.mean(getattr(one, side) - centre for one in found) for side in ("lower", "upper"))
    half = statistics.mean((one.high - one.low) / 2 for one in found)
    temperatures = round(statistics.mean(one.temperatures for one in found))
    truth = f"{problem.truth:.3f}" if problem.truth is not None else f"(mean {centre:.3f})"
    cells = [problem.name, truth, f"{inside} of {repeats}", f"{error:.3f}", f"{half:.3f}", f"{lower:+.3f}", f"{upper:+.3f}"]
    return [*cells, f"{temperatures}", f"{seconds:.1f}"]


def main() -> None:
    """The command."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--chains", type=int, default=512)
    parser.add_argument("--run", type=Path, action="append", default=[], help="also a run's prior")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    problems = [smooth_board(), hard_board(), *map(mixture, DIMENSIONS), *map(of_run, arguments.run)]
    heads = ("density", "log Z", "inside", "mean error", "half interval", "way up", "way down", "temperatures", "seconds")
    rows = [row(problem, arguments.repeats, arguments.chains) for problem in problems]
    text = (
        f"`python benchmarks/ais.py --repeats {arguments.repeats}`: {arguments.chains} chains; nats; *inside*: the truth "
        "lies in the 95 % interval; *mean error*: mean absolute error; *way up*, *way down*: mean error of the one-sided "
        f"estimates; {platform.machine()} CPU, one thread, torch {torch.__version__}.\n\n{markdown_table(heads, rows)}\n"
    )
    publish(text, arguments.write)


if __name__ == "__main__":
    main()
