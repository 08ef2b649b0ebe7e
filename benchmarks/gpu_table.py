"""The table of a device: seconds an iteration in the papers' CIFAR-10 settings, what a chain asks of the device, bfloat16.

- *two-phase*: the multi-stage prior's third stage on an NVAE of 30 groups, the paper's energy networks (its Table 10),
  chains of 10 steps, energies on u, batch 32; the drawing of a stage's pool is counted in, divided by the stage's steps.
- *joint*: the recipe multistage-joint-cifar10 (two layers of 100 latents, a generator of width 64, batch 100); seconds of
  the whole third stage by its steps, its beginning counted in.

Weights and images are made up, as no time depends on them.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clock import Clock, Work
from PIL import Image
from speed_cases import CASES, POOL, POOL_STEPS, RESIDUAL, TINY, Case, Scale, Sides, build
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from priorkit.config import resolve
from priorkit.core import Step
from priorkit.engine import ProcessContext
from priorkit.engine.update import Updater
from priorkit.workflows.training.train import fit

__all__ = ["CHAINS", "PRECISIONS", "SETTINGS", "chain_sizes", "chains", "joint", "precisions", "profiled", "two_phase"]

RECIPE = Path(__file__).resolve().parents[1] / "examples" / "recipes" / "multistage-joint-cifar10.yaml"
STAGES = 3
PUBLISHED = ("backbone=nvae", "backbone.preset=cifar10")
QUICK = [
    *("backbone.latents=[4,4]", "backbone.hidden=8", "backbone.width=4", "prior.energy.width=8", "prior.pool_size=4"),
    *("trainer.batch=2", "trainer.chain.steps=1", "trainer.stage_samples=2", "sampler.steps=1"),
]
TABLE_10 = Case("two-phase", ("prior=multistage", *RESIDUAL), stages=STAGES)
SETTINGS = ("setting", "s/iteration", "goal")
CHAINS = ("chain", "ms", "launches", "launches a step", "busy, ms", "busy share")
PRECISIONS = ("step", "float32, s", "bfloat16, s", "ratio")


def chain_sizes(*, quick: bool) -> tuple[Scale, Scale]:
    """Of chains on the small NVAE and on one of 30 groups."""
    return (sizes(quick=True), sizes(quick=True)) if quick else (Scale(), sizes(quick=False))


def sizes(*, quick: bool) -> Scale:
    """The published size, or a tiny one."""
    if quick:
        return Scale(backbone=TINY, batch=2, steps=2, pool=4, channels=8)
    return Scale(backbone=PUBLISHED, batch=32, pool=512)


def two_phase(clock: Clock, rounds: int, *, quick: bool) -> tuple[float, Sides]:
    """Seconds an iteration, the pool's share counted in, and what was timed."""
    scale = sizes(quick=quick)
    sides = build(TABLE_10, scale, clock.device)
    if sides.step is None or sides.pool is None:
        raise RuntimeError("a multi-stage prior has a step and a pool")
    # The pool last: a draw leaves the networks frozen, and the step that follows in turns would undo that each time.
    seconds = clock.medians({"step": sides.step}, rounds) | clock.medians({"pool": sides.pool}, 1)
    return seconds["step"] + seconds["pool"] * POOL / scale.pool / POOL_STEPS, sides


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


def chains(clock: Clock, rounds: int, *, quick: bool) -> Iterator[list[str]]:
    """A row for each: how long it takes, how often it asks the device, and how long the device works on that."""
    small, large = chain_sizes(quick=quick)
    jointebm = {case.name: case for case in CASES[:2]}
    cases = [(f"{name}, small NVAE", case, small) for name, case in jointebm.items()]
    cases.append(("jointebm, energies on z, 30 groups", CASES[0], large))
    for name, case, scale in cases:
        sides = build(case, scale, clock.device)
        seconds = clock.medians({"chain": sides.sample}, rounds)["chain"]
        launches, busy = _asked(sides.sample, clock.device)
        cells = [name, f"{1000 * seconds:.1f}", f"{launches}", f"{launches / scale.steps:.0f}"]
        yield [*cells, *(["-", "-"] if busy is None else [f"{1000 * busy:.1f}", f"{busy / seconds:.0%}"])]


def precisions(clock: Clock, rounds: int, *, quick: bool) -> Iterator[list[str]]:
    """A row for the backbone's step and one for the prior's, in both precisions, which take turns."""
    scale = sizes(quick=quick)
    sides = build(TABLE_10, scale, clock.device)
    images = torch.rand(scale.batch, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(clock.device)
    backbone = sides.model.backbone.train().requires_grad_(True)
    works: dict[str, Work] = {}
    for name in ("float32", "bfloat16"):
        updater = Updater(backbone, backbone.objectives(), ProcessContext(clock.device), bf16=name == "bfloat16")
        generator = torch.Generator(device=clock.device).manual_seed(0)
        works[name] = lambda u=updater, g=generator: u.step([images], Step(1, 10**6, g))
    yield _ratio("ELBO of the NVAE", clock.medians(works, rounds))
    works = {}
    for name in ("float32", "bfloat16"):
        step = build(TABLE_10, scale, clock.device, bf16=name == "bfloat16").step
        if step is None:
            raise RuntimeError("a multi-stage prior has a step")
        works[name] = step
    yield _ratio(f"prior, stage {STAGES}", clock.medians(works, rounds))


def _ratio(name: str, seconds: dict[str, float]) -> list[str]:
    whole, half = seconds["float32"], seconds["bfloat16"]
    return [name, f"{whole:.4f}", f"{half:.4f}", f"{whole / half:.2f}"]


class _Calls(TorchDispatchMode):
    """Counts the calls of operators."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return function(*args, **(kwargs or {}))


def _asked(work: Work, device: torch.device) -> tuple[int, float | None]:
    """Kernels and copies of a piece of work, and the seconds that they take; without a GPU the calls of operators."""
    if device.type != "cuda":
        with _Calls() as calls:
            work()
        return calls.count, None
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        work()
        torch.cuda.synchronize(device)
    events = [event for event in found.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    return len(events), sum(event.time_range.elapsed_us() for event in events) / 1e6


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
