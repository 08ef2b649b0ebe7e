"""What `priorkit train` spends its processor time on: training steps, pools of negatives, metrics, pictures, the rest.

Training steps all take the same time, so that `--shorten N` takes every Nth of them and counts each N times; all else is
measured in full. Set PYTHONPATH to another copy of the repository (and its folder plugins) to measure that one.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from command_line import benchmark_parser, publish, typed_command
from markdown_table import markdown_table

STEPS = {"backbone": 2_000, "prior": 9_000}
"""The default numbers of training steps."""
STEP = "steps of "
PARTS = (
    ("drawing samples", "priorkit.workflows.sampling.draws:Draws", "latents sampler chains"),
    ("drawing pools of negatives", "priorkit_multistage.negatives:Negatives", "of_stage"),
    ("validating stages", "priorkit_multistage.negatives:Negatives", "judged"),
    ("encoding", "priorkit_twophase.trainer", "encode"),
    ("validating the backbone", "priorkit_twophase.trainer:TwoPhaseTrainer", "_heldout_elbo"),
    ("making optimisers", "priorkit.engine.update:Updater", "__init__"),
    ("checkpoints", "priorkit.engine.loop:Engine", "_save"),
    ("pictures", "priorkit.workflows.sampling.live:LivePictures", "look ended"),
    ("pictures", "priorkit.workflows.training.train", "draw_pictures"),
    ("cost of sampling", "priorkit.workflows.training.train", "cost_of_sampling"),
)
"""Functions, by module and class; of one within another the time counts only for the inner one."""


class Breakdown:
    """Processor seconds of parts that may be inside each other."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inside, self._last = ["imports and all else"], 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time inside the block for this part."""
        self._switch()
        self._inside.append(name)
        try:
            yield
        finally:
            self._switch()
            self._inside.pop()

    def _switch(self) -> None:
        now = time.process_time()
        self.seconds[self._inside[-1]] += now - self._last
        self._last = now

    def time(self, owner: Any, names: str, told: Callable[..., str]) -> None:
        """Let functions or methods of `owner` count for the part that `told` names from their arguments."""
        for name in names.split():
            plain = vars(owner)[name]
            bound = isinstance(plain, classmethod)
            counted = self._counted(plain.__func__ if bound else plain, told)
            setattr(owner, name, classmethod(counted) if bound else counted)

    def _counted(self, function: Callable[..., Any], told: Callable[..., str]) -> Callable[..., Any]:
        @wraps(function)
        def counted(*args: Any, **options: Any) -> Any:
            with self.part(told(*args)):
                return function(*args, **options)

        return counted


def measured(options: list[str], samples: int) -> tuple[dict[str, float], dict[str, float]]:
    """Train a run with these options; return processor seconds by part, and the metrics."""
    breakdown = Breakdown()
    for name, place, functions in PARTS:
        module, _, kind = place.partition(":")
        owner = import_module(module)
        breakdown.time(getattr(owner, kind) if kind else owner, functions, lambda *_, name=name: name)
    _time_steps_and_metrics(breakdown)
    from priorkit.config import resolve
    from priorkit.workflows.measuring.evaluate import Evaluation
    from priorkit.workflows.training.train import train

    with TemporaryDirectory() as folder:
        place = Path(folder) / "run"
        with breakdown.part("imports and all else"):
            train(resolve(None, options), place, evaluation=Evaluation(samples=samples))
        summary = json.loads((place / "summary.json").read_text())
    return breakdown.seconds, {name: entry["value"] for name, entry in summary["metrics"].items()}


def _time_steps_and_metrics(breakdown: Breakdown) -> None:
    from priorkit.engine.loop import Engine
    from priorkit.workflows.measuring import groups
    from priorkit.workflows.measuring.shared_work import SharingMetric

    names = {id(value): name for name, value in vars(groups).items() if isinstance(value, SharingMetric)}
    breakdown.time(Engine, "_take", lambda engine, phase, *_: f"{STEP}{phase.name.partition('.')[0]}")
    breakdown.time(SharingMetric, "of", lambda metric, *_: f"metric {names[id(metric)].removeprefix('measure_')}")


def main() -> None:
    """Measure, and print a table and the Fréchet distances."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--shorten", type=int, default=1, help="take every Nth training step")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--samples", type=int, default=2_000, help="of each metric")
    parser.add_argument("--set", nargs="*", default=[], dest="options", metavar="KEY=VALUE", help="further options")
    given = parser.parse_args()
    steps = [f"trainer.{name}_steps={count // given.shorten}" for name, count in STEPS.items()]
    options = [f"engine.threads={given.threads}", *(steps if given.shorten > 1 else []), *given.options]
    seconds, metrics = measured(options, given.samples)
    found = {name: value * (given.shorten if name.startswith(STEP) else 1) for name, value in seconds.items()}
    whole = sum(found.values())
    rows = sorted(found.items(), key=lambda entry: -entry[1])
    cells = [(name, f"{value:.1f}", f"{value / whole:.1%}") for name, value in [*rows, ("all", whole)]]
    distances = ", ".join(f"{name} {value:.2f}" for name, value in metrics.items() if name.startswith("fd_"))
    shortened = f", every {given.shorten}th training step" if given.shorten > 1 else ""
    head = f"`{typed_command()}`: torch {torch.__version__}, {given.threads} thread(s){shortened}."
    publish(
        "\n\n".join([head, markdown_table(["part", "processor s", "share"], cells, numbers=True), f"{distances}."]) + "\n",
        given.write,
    )


if __name__ == "__main__":
    main()
