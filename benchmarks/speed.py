"""What a training step and a sample of each prior cost, product against plain reference in the same run.

    python benchmarks/speed.py --threads 2 --write docs/results/speed.md
    python benchmarks/speed.py --device cuda --write docs/results/speed-cuda.md

The backbone is an NVAE of 2 scales, 6 and 3 groups, 5.8 million parameters with random weights; no time depends on them.
Product and reference take turns, so that other load falls on both; the medians of the rounds are printed.  With
`--clock processor` the seconds are those of the processor (of all threads together), which other load hardly changes.
Operations are counted by torch; a multiplication and an addition are two.
"""

import argparse
import platform
import shlex
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch
from clock import Clock, operations
from command_line import benchmark_parser, publish
from markdown_table import markdown_table
from speed_cases import CASES, POOL, POOL_STEPS, TINY, Case, Scale, build
from speed_growth import compiled, data_rates, growth, memory, overhead
from speed_joint import joint_steps


def matmul_rate(clock: Clock, side: int) -> float:
    """Operations a second of float32 products of square matrices."""
    a = torch.randn(side, side, device=clock.device)
    return 2 * side**3 / clock.medians({"matmul": lambda: a @ a}, 5)["matmul"]


def measured(case: Case, scale: Scale, clock: Clock, rounds: int, rate: float) -> tuple[list[str], list[str]]:
    """The case's cells of the two tables: training and sampling."""
    sides = build(case, scale, clock.device)
    named = {"step": sides.step, "sample": sides.sample, "pool": sides.pool, "encode": sides.encode}
    named |= {"reference step": sides.reference_step, "reference sample": sides.reference_sample}
    works = {name: work for name, work in named.items() if work is not None}
    counted = {name: operations(work) for name, work in works.items()}
    seconds = clock.medians(works, rounds, warm=True)
    return _training(case, scale, seconds, counted, rate), _sampling(case, scale, seconds, counted, rate)


def apart(case: Case, scale: Scale, clock: Clock, rounds: int, rate: float) -> tuple[list[str], list[str]]:
    """`measured` in a process of its own: memory that larger rows have left with the allocator would quicken later ones."""
    threads = (torch.get_num_threads(),)
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=torch.set_num_threads, initargs=threads) as pool:
        return pool.submit(measured, case, scale, clock, rounds, rate).result()


def _training(
    case: Case, scale: Scale, seconds: Mapping[str, float], counted: Mapping[str, float], rate: float
) -> list[str]:
    if "step" not in seconds:
        return []
    share = POOL / POOL_STEPS / scale.pool
    own = seconds["step"] + share * seconds.get("pool", 0.0)
    flops = counted["step"] + share * counted.get("pool", 0.0)
    cells = [case.name, f"{own:.4f}", f"{flops / 1e9:.2f}", f"{flops / own / rate:.0%}"]
    cells += [f"{share * seconds['pool']:.4f}" if "pool" in seconds else "-", f"{seconds['encode']:.4f}"]
    if "reference step" not in seconds:
        return [*cells, "-", "-", "-"]
    plain = seconds["reference step"]
    return [*cells, f"{plain:.4f}", f"{counted['reference step'] / 1e9:.2f}", f"{plain / own:.1f}"]


def _sampling(
    case: Case, scale: Scale, seconds: Mapping[str, float], counted: Mapping[str, float], rate: float
) -> list[str]:
    thousand = 1000 / scale.batch
    own, flops = thousand * seconds["sample"], thousand * counted["sample"]
    cells = [case.name, f"{own:.2f}", f"{flops / 1e9:.1f}", f"{flops / own / rate:.0%}"]
    if "reference sample" not in seconds:
        return [*cells, "-", "-", "-"]
    plain = thousand * seconds["reference sample"]
    return [*cells, f"{plain:.2f}", f"{thousand * counted['reference sample'] / 1e9:.1f}", f"{plain / own:.1f}"]


TRAINING = ("prior", "s/step", "GFLOP", "of matmul", "of that the pool, s", "encoding once, s")
SAMPLING = ("prior", "s/1,000", "GFLOP", "of matmul")
REFERENCE = ("reference, s", "GFLOP", "ratio")


def table(header: tuple[str, ...], rows: list[list[str]]) -> str:
    """Markdown; a case that was not measured has an empty row, which is left out."""
    return markdown_table(header, [row for row in rows if row], numbers=True)


def main() -> None:
    """The command."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--clock", choices=["wall", "processor"], default="wall")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rows", nargs="*", default=[], help="the names of the rows that are wanted")
    parser.add_argument(
        "--parts", nargs="*", default=["priors", "joint", "overhead", "data", "memory", "growth"], help="these, and compiled"
    )
    parser.add_argument("--quick", action="store_true", help="a rehearsal on a tiny network")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    publish(run(arguments), arguments.write)


def run(arguments: argparse.Namespace) -> str:
    """The report."""
    device = torch.device(arguments.device)
    clock = Clock(device, arguments.clock)
    scale = Scale(batch=arguments.batch)
    if arguments.quick:
        scale = Scale(backbone=TINY, batch=2, steps=2, pool=4, channels=8)
    rate = matmul_rate(clock, 128 if arguments.quick else 2048 if device.type == "cpu" else 8192)
    parts = [_heading(arguments, device, rate)]
    if "priors" in arguments.parts:
        chosen = [case for case in CASES if case.name in (arguments.rows or [case.name])]
        rows = []
        for case in chosen:
            rows.append(apart(case, scale, clock, arguments.rounds, rate))
            # The whole takes many minutes: what is known is told, and stays if the rest does not come.
            print(*(table((), [part]) for part in rows[-1] if part), sep="\n", file=sys.stderr, flush=True)
        parts += ["## A training step", table(TRAINING + REFERENCE, [row[0] for row in rows])]
        parts += ["## A thousand samples", table(SAMPLING + REFERENCE, [row[1] for row in rows])]
    more = {"joint": joint_steps, "overhead": overhead, "compiled": compiled, "data": data_rates}
    more |= {"memory": memory, "growth": growth}
    for name, part in more.items():
        if name in arguments.parts:
            title, header, cells = part(clock, scale, arguments.rounds, arguments.quick)
            parts += [f"## {title}", table(header, cells)]
    return "\n\n".join(parts) + "\n"


def _heading(arguments: argparse.Namespace, device: torch.device, rate: float) -> str:
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU"
    flags = " --quick" if arguments.quick else ""
    flags += f" --clock {arguments.clock} --rounds {arguments.rounds} --batch {arguments.batch}"
    flags += f" --parts {' '.join(arguments.parts)}"
    flags += f" --rows {shlex.join(arguments.rows)}" if arguments.rows else ""
    return (
        f"`python benchmarks/speed.py --threads {arguments.threads} --device {arguments.device}{flags}`: float32, "
        f"{machine}, {arguments.threads} threads, torch {torch.__version__}; {arguments.clock} clock; products of square "
        f"matrices at {rate / 1e9:.0f} GFLOP/s. Product and reference take turns; medians."
    )


if __name__ == "__main__":
    main()
