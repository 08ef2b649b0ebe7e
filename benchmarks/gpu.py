"""All that a GPU has to show, in nine minutes: first that it computes what the CPU computes, then what it costs.

    python benchmarks/gpu.py --write docs/results/gpu.md --data zip:cifar10-train.zip --heldout zip:cifar10-test.zip
    python benchmarks/gpu.py --rehearse --write docs/results/gpu-rehearsal.md

1. *Correctness*: every prior on two backbones with both trainers, runs that change devices half-way, and samples in float64,
   against the CPU with the same random numbers.
2. *Times*: the papers' two settings, two-phase and joint, on CIFAR-10's size; launches and busy shares of chains; bfloat16.
3. *Images*: a small NVAE and two priors on it, in the minutes that are left.

What is known is written at once, so that an interrupted script leaves what it has.  The exit code is 1 if a figure of the
first part differs.  `--rehearse` does all of it on the CPU at tiny size: it shows that the script runs, and no time of it
means anything.
"""

import argparse
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import gpu_correct
import gpu_images
import gpu_table
import torch
from clock import Clock
from command_line import benchmark_parser, given_command, save
from markdown_table import markdown_table

from priorkit.errors import InterruptedRunError, said

PARTS = ("correct", "times", "images")
GOALS = {"two-phase": 1.0, "joint": 0.05}
"""Seconds an iteration."""


def main() -> None:
    """The command."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=PARTS)
    parser.add_argument("--minutes", type=float, default=9.0, help="for all parts; the last one takes what is left")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--joint-steps", type=int, default=200, help="iterations of each stage of the joint setting")
    parser.add_argument("--data", default="digits", help="images of the last part")
    parser.add_argument("--heldout", help="held-out images, if the data have none of their own")
    parser.add_argument("--sheets", type=Path, help="folder for sheets of samples")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, at tiny size")
    arguments = parser.parse_args()
    good = True
    text = heading(given_command("benchmarks/gpu.py", parser, arguments), rehearsal=arguments.rehearse)
    print(text, flush=True)
    for part, right in report(arguments):
        print(part, flush=True)
        text, good = f"{text}\n{part}", good and right
        save(text, arguments.write)
    sys.exit(0 if good else 1)


def heading(command: str, *, rehearsal: bool) -> str:
    """Where and how it was measured."""
    if rehearsal:
        told = f"`{command}`: a rehearsal on the CPU at tiny size. **No GPU was used**, and no time below means anything."
        return f"{told} {platform.machine()} CPU, torch {torch.__version__}, seed 0.\n"
    return f"`{command}`: {torch.cuda.get_device_name()}, torch {torch.__version__}, float32 unless noted, seed 0.\n"


def report(arguments: argparse.Namespace) -> Iterator[tuple[str, bool]]:
    """The parts of the report as they are known, and whether what was compared is equal."""
    begun = time.monotonic()
    works = {"correct": correctness, "times": times, "images": pictures}
    for name in arguments.parts:
        try:
            left = arguments.minutes - (time.monotonic() - begun) / 60
            yield from works[name](torch.device("cpu" if arguments.rehearse else "cuda"), arguments, left)
        except InterruptedRunError:
            raise
        except Exception as error:  # a device is lent for minutes: the other parts go on
            traceback.print_exc()
            yield f"#### {name}\n\n**failed**: {said(error)}\n", False
    yield f"In all {time.monotonic() - begun:.0f} s.\n", True


def correctness(device: torch.device, arguments: argparse.Namespace, left: float) -> Iterator[tuple[str, bool]]:
    """The first part."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for row in gpu_correct.rows(device, Path(folder)):
            print(*row.cells(), sep=" | ", file=sys.stderr, flush=True)
            rows.append(row)
    told = (
        f"Largest relative differences from the CPU with the same random numbers: losses in float32 (at most "
        f"{gpu_correct.LOSSES:g}), weights at the end, samples in float64 from the same weights (at most "
        f"{gpu_correct.SAMPLES:g})."
    )
    table = section("Correctness", gpu_correct.HEADER, [row.cells() for row in rows], told)
    yield table, all(row.good for row in rows)


def times(device: torch.device, arguments: argparse.Namespace, left: float) -> Iterator[tuple[str, bool]]:
    """The second part, a table at a time."""
    clock, quick = Clock(device, "wall"), arguments.rehearse
    rounds, steps = (1, 1) if quick else (arguments.rounds, arguments.joint_steps)
    first, sides = gpu_table.two_phase(clock, rounds, quick=quick)
    found = {"two-phase": first, "joint": gpu_table.joint(device, steps, quick=quick)}
    rows = [[f"{name}, stage {gpu_table.STAGES}", f"{found[name]:.4f}", f"{goal:g}"] for name, goal in GOALS.items()]
    yield section("Seconds an iteration", gpu_table.SETTINGS, rows), True
    small, large = gpu_table.chain_sizes(quick=quick)
    told = f"{small.steps} Langevin steps; batches of {small.batch} on the small NVAE, {large.batch} on that of 30 groups. "
    told += "Launches are kernels and copies." if device.type == "cuda" else "Without a GPU, calls of operators are counted."
    yield section("Chains", gpu_table.CHAINS, list(gpu_table.chains(clock, rounds, quick=quick)), told), True
    yield section("bfloat16", gpu_table.PRECISIONS, list(gpu_table.precisions(clock, rounds, quick=quick))), True
    if sides.step is not None:
        profile = gpu_table.profiled(sides.step, device)
        yield f"#### Three iterations of the two-phase setting\n\n```text\n{profile}\n```\n", True


def pictures(device: torch.device, arguments: argparse.Namespace, left: float) -> Iterator[tuple[str, bool]]:
    """The last part, in the minutes that are left."""
    data = [f"data={arguments.data}", *([f"data.heldout={arguments.heldout}"] if arguments.heldout else [])]
    with tempfile.TemporaryDirectory() as folder:
        rows = gpu_images.images(device.type, data, left, Path(folder), arguments.sheets, quick=arguments.rehearse)
    yield section(f"Images: {arguments.data.rpartition('/')[2]}", gpu_images.HEADER, rows), True


def section(title: str, header: tuple[str, ...], rows: list[list[str]], told: str = "") -> str:
    """A heading, a sentence and a table."""
    text = f"{told}\n\n" if told else ""
    return f"#### {title}\n\n{text}{markdown_table(header, rows, numbers=True)}\n"


if __name__ == "__main__":
    main()
