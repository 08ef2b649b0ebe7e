"""Pilot runs: what a training run's steps, one-off work and metrics cost, measured by short runs on few examples.

A pilot takes few steps on a fraction of the data and is deleted. Seconds per step are taken as they are; all other work of
training is taken to cost a + b times the fraction, from two pilots; metrics are measured on the first (`evaluation_cost`),
held-out evaluations during training on the second (`validation_cost`).
"""

import hashlib
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from priorkit.config import RunConfig
from priorkit.config.sections import DEFAULTS, Component
from priorkit.core import Progress, no_progress
from priorkit.core.single import single_precision
from priorkit.data import Dataset
from priorkit.engine import ProcessContext
from priorkit.engine.signals import StopRequest
from priorkit.metrics.cost import PeakMemory
from priorkit.registry import hooks
from priorkit.runs.folder import RunFolder
from priorkit.runtime.atomic_files import write_tensors
from priorkit.workflows.assemble import build_model, build_trainer
from priorkit.workflows.measuring.evaluate import Evaluation
from priorkit.workflows.training.begin import Begun
from priorkit.workflows.training.evaluation_cost import evaluation_cost
from priorkit.workflows.training.run_phases import run_phases, workbench
from priorkit.workflows.training.validation_cost import SelectionTime, validation_cost

__all__ = ["Cost", "Weights", "measured_cost"]

Weights = dict[str, Tensor] | None

STEPS = 5
"""Steps of each phase of a pilot."""
FRACTION = 1 / 40
"""Of the data and of other one-off work in the first pilot, or more if there are few data; twice that in the second."""
FEWEST, MEASURED = 64, 200
"""Smallest number of examples of each split for training, and for metrics, which can all be computed with so many."""


@dataclass
class Cost:
    """Seconds of the parts of a run."""

    steps: dict[str, float] = field(default_factory=dict)
    """Per training step of each phase, with its share of the held-out evaluations."""
    once: dict[str, float] = field(default_factory=dict)
    """Before the first and after the last step of each phase, and for as many held-out evaluations as any steps have."""
    metrics: float = 0.0
    """For metrics and pictures."""
    fixed_metrics: float = 0.0
    """Of these, what does not depend on the number of samples."""
    planned: dict[str, int] = field(default_factory=dict)
    """Number of steps of each phase of the whole run."""
    memory: int | None = None
    """Peak memory of a pilot's training in bytes, if it can be measured."""
    spent: float = 0.0
    """Seconds that the pilots took."""

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of each phase of the whole run."""
        return {name: self.once[name] + count * self.steps[name] for name, count in self.planned.items()}

    @property
    def total(self) -> float:
        """Seconds of the whole run."""
        return sum(self.seconds.values()) + self.metrics


@single_precision()
@torch.inference_mode(False)
@torch.enable_grad()
def measured_cost(
    config: RunConfig, data: Dataset, evaluation: Evaluation, progress: Progress = no_progress, backbone: Weights = None
) -> Cost:
    """Return the cost of the configured run, with this evaluation and this trained backbone, if there is one; global random
    state is unchanged."""
    begun = time.monotonic()
    config, metrics, fixed = config.for_data(data.spec), 0.0, 0.0
    with torch.random.fork_rng(devices=[]), _unheard():
        stages = build_model(config, data.spec, torch.device("cpu")).prior.stages
        first = min(0.5, max(FRACTION, FEWEST / max(1, len(data.train))))
        pilots = [_Pilot(config, data, fraction, stages, backbone) for fraction in (first, 2 * first)]
        for pilot in progress(pilots, len(pilots), "pilot runs, for the time that it takes"):
            with TemporaryDirectory(prefix="priorkit-pilot-") as place:
                pilot.train(RunFolder(Path(place)))
                if pilot is pilots[0]:
                    metrics, fixed = evaluation_cost(Path(place), data, _subset(data, 0, MEASURED), evaluation)
    small, large = pilots
    once = {name: _whole(small.once[name], large.once[name], small.share, large.share) for name in large.once}
    steps = {name: seconds + large.validation[name][0] for name, seconds in large.steps.items()}
    once = {name: seconds + large.validation[name][1] for name, seconds in once.items()}
    return Cost(steps, once, metrics, fixed, large.planned, large.memory, time.monotonic() - begun)


def _whole(small: float, large: float, share: float, larger: float) -> float:
    """Return a + b from a + b share and a + b larger, with a and b at least 0."""
    if larger <= share:
        return large / larger
    slope = min(max(0.0, (large - small) / (larger - share)), large / larger)
    return large + slope * (1 - larger)


class _Pilot:
    """A run on the fraction of its data, with few steps."""

    def __init__(self, config: RunConfig, data: Dataset, fraction: float, stages: int, backbone: Weights) -> None:
        self.backbone = backbone
        self.whole, self.all, self.share = config, data, fraction
        self.data = _subset(data, fraction, FEWEST)
        self.config = _shortened(config, len(data.train), fraction, stages)
        self.steps: dict[str, float] = {}
        self.once: dict[str, float] = {}
        self.planned: dict[str, int] = {}
        self.validation: dict[str, tuple[float, float]] = {}
        self.memory: int | None = None
        self._first_log: dict[tuple[str, int], float] = {}

    def train(self, folder: RunFolder) -> None:
        """Train in the folder, and note the seconds."""
        process = ProcessContext.find(self.config.engine.device)
        model = build_model(self.config, self.data.spec, process.device)
        # It would end training early, or leave out parts that few steps have not trained.
        model.prior.should_train = lambda stage: True  # type: ignore[method-assign]
        self.config.write(folder.config)
        if self.backbone is not None:
            write_tensors(folder.initial_backbone, self.backbone)
        folder.begin()
        run = Begun(self.config, folder, process, self.data, model, StopRequest(), no_progress)
        selection = SelectionTime()
        with PeakMemory(process.device) as memory:
            state, _ = run_phases(run, hooks([]), no_progress, self._heard, [selection])
        self.memory = memory.bytes
        self._read(state.seconds, run, selection.seconds)

    def _heard(self, phase: str, step: int, figures: dict[str, float]) -> None:
        # Held-out losses of a step are logged before it, and the end of a phase after it, as of the same step.
        self._first_log.setdefault((phase, step), time.monotonic())

    def _read(self, seconds: dict[str, float], run: Begun, selection: dict[str, float]) -> None:
        """Divide each phase's seconds into those of its steps and the others, and note the whole run's steps and what its
        held-out evaluations take."""
        bench = workbench(run)
        short = {phase.name: phase for phase in build_trainer(self.config).phases(bench)}
        bench = replace(bench, train=self.all.train, heldout=self.all.heldout)
        whole = {phase.name: phase for phase in build_trainer(self.whole).phases(bench)}
        longer = {phase.name: phase for phase in build_trainer(_doubled(self.whole)).phases(bench)}
        for name, total in seconds.items():
            if any(name not in listed for listed in (short, whole, longer)):  # depends on what was found
                continue
            times = [when for (phase, _), when in self._first_log.items() if phase == name]
            between = [later - earlier for earlier, later in pairwise(times)]
            step = median(between) if between else 0.0
            self.once[name] = max(0.0, total - step * short[name].steps)
            # A batch of a pilot has no more examples than the pilot.
            self.steps[name] = step * whole[name].batch_size / short[name].batch_size
            self.planned[name] = whole[name].steps
            self.validation[name] = validation_cost(whole[name], longer[name], selection)


@contextmanager
def _unheard() -> Iterator[None]:
    """Keep the pilots' warnings, about few data and untrained networks, out of the log."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _subset(data: Dataset, fraction: float, fewest: int) -> Dataset:
    """Return the first data of each split, under a content hash of their own, since features are cached by it."""
    count = [max(min(fewest, len(split)), round(min(1.0, fraction) * len(split))) for split in (data.train, data.heldout)]
    train, heldout = data.train.subset(torch.arange(count[0])), data.heldout.subset(torch.arange(count[1]))
    content = hashlib.sha256(f"pilot {count} of {data.content}".encode()).hexdigest()
    return replace(data, train=train, heldout=heldout, content=content)


def _doubled(config: RunConfig) -> RunConfig:
    """Return the configuration with twice as many steps."""
    _, settings = config.component("trainer")
    steps = {name: 2 * config.trainer.options[name] for name in settings.planned.steps}
    return config.model_copy(update={"trainer": Component(name=config.trainer.name, **{**config.trainer.options, **steps})})


def _shortened(config: RunConfig, examples: int, fraction: float, stages: int) -> RunConfig:
    """Return the configuration of a pilot."""
    changed = {}
    for kind in DEFAULTS:
        _, settings = config.component(kind)
        settings = settings.for_examples(examples)
        own = settings.planned
        options = settings.model_dump(mode="json") | dict(own.pilot)
        # The first of several counts the backbone's steps, the others those of all stages together.
        shared = own.steps[1:] or own.steps
        options |= {name: min(options[name], STEPS * max(1, stages if name in shared else 1)) for name in own.steps}
        options |= {name: max(1, round(options[name] * fraction)) for name in own.work}
        changed[kind] = Component(name=getattr(config, kind).name, **options)
    engine = config.engine.model_copy(update={"log_every": 1, "loggers": [], "checkpoint_seconds": 1e9})
    return config.model_copy(update={**changed, "engine": engine})
