"""Training a prior by two processes on two cores against one process on one core, in the same run, taking turns.

    python benchmarks/scale.py --write docs/results/scale.md

A process has one thread and a core of its own.  The backbone is the digits NVAE with random weights; no time depends on
them.  Both train the same batch per step, by the engine's own step, and draw the same pool of negatives; the medians of the
rounds are printed.  Each batch is large enough that averaging a gradient is little of a step; `--batch` tries another.
"""

import argparse
import os
import platform
import socket
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.multiprocessing as mp
from command_line import benchmark_parser, publish
from markdown_table import markdown_table

from priorkit.config import resolve
from priorkit.core import Phase, Streams, Workbench, no_cache, no_progress, set_learning
from priorkit.engine import ProcessContext
from priorkit.engine.shard import Shards
from priorkit.engine.update import Updater
from priorkit.workflows.assemble import build_model, build_trainer
from priorkit.workflows.session import open_data

PROCESSES = 2


@dataclass(frozen=True)
class Case:
    """A prior, the stage of it that is trained, and how much of it is done in a round."""

    name: str
    options: list[str]
    stage: int
    batch: int
    steps: int


CASES = [
    Case("multistage", ["prior=multistage", "prior.stages=2", "prior.adaptive=false"], 2, 5000, 20),
    Case("jointebm", ["prior=jointebm"], 1, 4000, 20),
]
TINY = ["backbone.num_channels_enc=4", "backbone.num_channels_dec=4", "prior.energy.width=8", "sampler.steps=2"]
POOL = 16_000
"""Negatives of a round; in chunks of 2,000, so that both processes have equally many."""


class Work:
    """One process's side of a case."""

    def __init__(self, process: ProcessContext, options: list[str], stage: int) -> None:
        config = resolve(None, ["trainer.backbone_steps=0", "trainer.posterior_samples=4", *options])
        streams, data = Streams(0), open_data(config, no_progress)
        model = build_model(config, data.spec, process.device)
        set_learning(model.backbone, False)
        splits = (data.train, data.heldout)
        bench = Workbench(
            model.backbone,
            model.prior,
            model.sampler,
            *splits,
            streams,
            process.device,
            no_cache,
            no_progress,
            process.parallel_map,
        )
        self.process = process
        self.shards = Shards(process, streams, config.engine)
        self.phase = self._begun(build_trainer(config).phases(bench), stage)
        self.updater = Updater(self.phase.learners, self.phase.objectives(), process)
        self.done = 0

    def _begun(self, phases: Any, stage: int) -> Phase:
        """The phase of the stage, when the ones before are over without a step."""
        for phase in phases:
            set_learning(phase.learners, True)
            phase.begin()
            if phase.name == f"prior.{stage}":
                return phase
            set_learning(phase.learners, False)
            phase.end()
        raise ValueError(f"there is no stage {stage}")

    def step(self, count: int) -> None:
        """So many steps of the engine."""
        for _ in range(count):
            taken, _ = self.updater.take(self.shards.of(self.phase, self.done))
            self.process.all_reduce_max(0, 0)  # as the engine agrees on signals and checkpoints
            self.done += 1
            if not taken:
                raise RuntimeError("a step was refused")

    def pool(self, count: int) -> None:
        """The stage's beginning: the sampler is tuned and the pool of negatives drawn."""
        self.phase.begin()

    def seconds(self, job: Callable[[int], None], count: int) -> float:
        """Of a job that all processes do."""
        self.process.barrier()
        begun = time.perf_counter()
        job(count)
        self.process.barrier()
        return time.perf_counter() - begun


def serve(rank: int, world: int, port: int, orders: Connection, options: list[str], stage: int, core: int) -> None:
    """What a process does: jobs by name, as often as it is told, until it is told none."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[(core + rank) % len(cores)]})
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    process = ProcessContext.find("cpu")
    with process.joined():
        work = Work(process, options, stage)
        orders.send(sum(parameter.numel() for group in work.updater.objectives for parameter in group.parameters))
        while order := orders.recv():
            name, count = order
            orders.send(work.seconds(getattr(work, name), count))


class Side:
    """One process, or several that work together on as many cores from `core` on, and how long they take."""

    def __init__(self, world: int, options: list[str], stage: int, *, core: int = 0) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        context = mp.get_context("spawn")
        pipes = [context.Pipe() for _ in range(world)]
        self.pipes = [own for own, _ in pipes]
        self.ranks = [
            context.Process(target=serve, args=(rank, world, port, theirs, options, stage, core), daemon=True)
            for rank, (_, theirs) in enumerate(pipes)
        ]
        for process in self.ranks:
            process.start()
        for _, theirs in pipes:
            theirs.close()  # so that a process that fails ends the waiting for it
        self.parameters = max(pipe.recv() for pipe in self.pipes)

    def end(self) -> None:
        """Let the processes go."""
        for pipe in self.pipes:
            pipe.send(None)
        for process in self.ranks:
            process.join()


def seconds_of(sides: Sequence[Side], job: str, count: int) -> float:
    """Of the slowest process of all sides, at work at the same time."""
    pipes = [pipe for side in sides for pipe in side.pipes]
    for pipe in pipes:
        pipe.send((job, count))
    return max(pipe.recv() for pipe in pipes)


@contextmanager
def kinds(options: list[str], stage: int) -> Any:
    """One process; several together; and as many as these that do not know of each other, each with all of the work."""
    alone, *others = [Side(1, options, stage, core=core) for core in range(PROCESSES)]
    together = Side(PROCESSES, options, stage)
    try:
        yield [alone], [together], [alone, *others]
    finally:
        for side in (alone, *others, together):
            side.end()


def measured(case: Case, arguments: argparse.Namespace) -> list[list[str]]:
    """The case's rows."""
    batch, steps, pool = arguments.batch or case.batch, case.steps, POOL
    options = [*case.options, f"trainer.prior_batch={batch}", f"trainer.prior_steps={10**6}"]
    if arguments.quick:
        batch, steps, pool = 64, 2, 4_000
        options = [*case.options, *TINY, f"trainer.prior_batch={batch}", f"trainer.prior_steps={10**6}"]
    jobs = {"step": (f"{case.name}, a step of {batch}", batch * steps)}
    if case.stage > 1:
        options += [f"prior.pool_size={pool}"]
        jobs["pool"] = (f"{case.name}, the pool", pool)
    with kinds(options, case.stage) as every:
        seconds: dict[str, list[list[float]]] = {job: [[] for _ in every] for job in jobs}
        for round_ in range(arguments.rounds + 1):
            for job in jobs:
                for taken, sides in zip(seconds[job], every, strict=True):
                    spent = seconds_of(sides, job, steps)
                    taken += [spent] if round_ else []  # the first round warms up
        parameters = every[0][0].parameters
    return [row(label, examples, seconds[job], parameters) for job, (label, examples) in jobs.items()]


def row(label: str, examples: int, seconds: list[list[float]], parameters: int) -> list[str]:
    """Rates of one process and of two, their ratio with its range over the rounds, and what the machine would allow."""
    one, two, apart = (statistics.median(taken) for taken in seconds)
    ratios = [alone / together for alone, together, _ in zip(*seconds, strict=True)]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    rates = [f"{examples / one:,.0f}", f"{examples / two:,.0f}"]
    return [label, f"{parameters:,}", *rates, f"{one / two:.2f}", spread, f"{PROCESSES * one / apart:.2f}"]


RATES = ("one process, examples/s", "two processes, examples/s", "ratio", "over the rounds", "unconnected")
HEADER = ("work", "parameters", *RATES)


def run(arguments: argparse.Namespace) -> str:
    """The report."""
    rows = [line for case in CASES if case.name in arguments.priors for line in measured(case, arguments)]
    flags = f"{' --quick' if arguments.quick else ''}{f' --batch {arguments.batch}' if arguments.batch else ''}"
    heading = (
        f"`python benchmarks/scale.py{flags} --rounds {arguments.rounds}`: digits NVAE, {platform.machine()} CPU, one "
        f"thread and one core per process, torch {torch.__version__}, gloo. One process and two take turns; medians of "
        f"{arguments.rounds} rounds. *Unconnected*: the same ratio for two processes that each do the whole work and do "
        "not know of each other, the most that the machine allows. A step is the engine's own, on the whole batch; the "
        "pool is a stage's beginning, the choice of the sampler's step size, which is not shared, included."
    )
    return f"{heading}\n\n{markdown_table(HEADER, rows, numbers=True)}\n"


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = benchmark_parser(__doc__)
    made.add_argument("--priors", nargs="+", default=[case.name for case in CASES])
    made.add_argument("--rounds", type=int, default=7)
    made.add_argument("--batch", type=int, help="examples per step, of both processes together")
    made.add_argument("--quick", action="store_true", help="a rehearsal on tiny networks")
    return made


def main() -> None:
    """The command."""
    arguments = parser().parse_args()
    publish(run(arguments), arguments.write)


if __name__ == "__main__":
    main()
