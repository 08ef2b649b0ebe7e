"""Seconds an iteration at the published CIFAR-10 sizes, two-phase and joint, and a profile of what they are spent on.

    python benchmarks/gpu.py --device cuda --write docs/results/gpu.md

- *two-phase*: the multi-stage prior's third stage on an NVAE of 30 groups, the paper's energy networks (its Table 10),
  chains of 10 steps, energies on u, batch 32; the drawing of a stage's pool is counted in, divided by the stage's steps.
- *joint*: the recipe multistage-joint-cifar10 (two layers of 100 latents, a generator of width 64, batch 100); seconds of
  the whole third stage by its steps, its beginning counted in.

Weights and images are made up, as no time depends on them.
"""

import argparse
import platform
import tempfile
from pathlib import Path

import numpy as np
import torch
from clock import Clock, Work
from command_line import benchmark_parser, publish
from markdown_table import markdown_table
from PIL import Image
from speed_cases import POOL, POOL_STEPS, RESIDUAL, TINY, Case, Scale, build
from torch.profiler import ProfilerActivity, profile

from priorkit.config import resolve
from priorkit.workflows.training.train import fit

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "examples" / "recipes" / "multistage-joint-cifar10.yaml"
STAGES = 3
QUICK = [
    *("backbone.latents=[4,4]", "backbone.hidden=8", "backbone.width=4", "prior.energy.width=8", "prior.pool_size=4"),
    *("trainer.batch=2", "trainer.chain.steps=1", "trainer.stage_samples=2", "sampler.steps=1"),
]


def two_phase(clock: Clock, rounds: int, *, quick: bool) -> tuple[float, Work]:
    """Seconds an iteration, the pool's share counted in, and the step itself."""
    scale = Scale(backbone=("backbone=nvae", "backbone.preset=cifar10"), batch=32, pool=512)
    if quick:
        scale = Scale(backbone=TINY, batch=2, steps=2, pool=4, channels=8)
    sides = build(Case("two-phase", ("prior=multistage", *RESIDUAL), stages=STAGES), scale, clock.device)
    if sides.step is None or sides.pool is None:
        raise RuntimeError("a multi-stage prior has a step and a pool")
    # The pool last: a draw leaves the networks frozen, and the step that follows in turns would undo that each time.
    seconds = clock.medians({"step": sides.step}, rounds) | clock.medians({"pool": sides.pool}, 1)
    return seconds["step"] + seconds["pool"] * POOL / scale.pool / POOL_STEPS, sides.step


def joint(device: torch.device, steps: int, *, quick: bool) -> float:
    """Seconds an iteration of the last stage."""
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder, "images")
        images.mkdir()
        rng = np.random.default_rng(0)
        for i in range(8 if quick else 500):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(images / f"{i:03}.png")
        options = [f"data=folder:{images}", "data.holdout=0.2", f"engine.device={device}", "trainer.validate_every=0"]
        options += [f"trainer.joint_steps={STAGES * steps}", *(QUICK if quick else [])]
        state = fit(resolve(RECIPE, options), Path(folder, "run"))
    if state is None:
        raise RuntimeError("another process trained the run")
    return state.seconds[f"joint.{STAGES}"] / steps


def profiled(work: Work, device: torch.device) -> str:
    """The operators that take the most time of some iterations."""
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=kinds) as found:
        for _ in range(3):
            work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    key = f"self_{device.type}_time_total"
    return str(found.key_averages().table(sort_by=key, row_limit=15, max_name_column_width=60))


def main() -> None:
    """The command."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--joint-steps", type=int, default=200, help="iterations of each stage of the joint setting")
    parser.add_argument("--quick", action="store_true", help="a rehearsal on tiny networks")
    arguments = parser.parse_args()
    publish(run(arguments), arguments.write)


def run(arguments: argparse.Namespace) -> str:
    """The report."""
    device, quick = torch.device(arguments.device), arguments.quick
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU"
    first, step = two_phase(Clock(device, "wall"), arguments.rounds, quick=quick)
    second = joint(device, arguments.joint_steps, quick=quick)
    flags = (
        f"--device {device}{' --quick' if quick else ''} --rounds {arguments.rounds} --joint-steps {arguments.joint_steps}"
    )
    rows = [
        [f"two-phase, stage {STAGES}, batch {2 if quick else 32}", f"{first:.4f}"],
        [f"joint, stage {STAGES}, batch {2 if quick else 100}", f"{second:.4f}"],
    ]
    return (
        f"`python benchmarks/gpu.py {flags}`: {machine}, torch {torch.__version__}, float32, seed 0.\n\n"
        f"{markdown_table(('setting', 's/iteration'), rows, numbers=True)}\n\n"
        f"Three iterations of the two-phase setting:\n\n```text\n{profiled(step, device)}\n```\n"
    )


if __name__ == "__main__":
    main()
