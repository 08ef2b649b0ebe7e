"""Plans of a run: the numbers of steps that fit into a number of minutes, and what a run will take."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

from priorkit.config import EvaluationSettings, RunConfig
from priorkit.config.sections import Component
from priorkit.core import Progress, no_progress
from priorkit.data import Dataset
from priorkit.errors import UsageError
from priorkit.runs.folder import RunFolder
from priorkit.workflows.measuring.evaluate import Evaluation
from priorkit.workflows.session import open_data, use_threads
from priorkit.workflows.training.begin import see_free, trained_backbone
from priorkit.workflows.training.pilot import Cost, Weights, measured_cost

__all__ = ["Limit", "Plan", "plan", "plan_command", "plan_within"]

BACKBONE = 0.6
"""Fraction of the time for training steps that the backbone gets, if both are trained: a prior cannot be better than the
reconstructions that its samples are compared with."""
MOST_FOR_METRICS = 0.3
"""Largest fraction of the minutes for metrics and pictures; beyond it, fewer samples are drawn for them."""
LEAST_FOR_STEPS = 0.2
"""Smallest fraction of the time that is left for training steps."""
FEWEST_SAMPLES = 500
"""Smallest number of samples for metrics."""


@dataclass(frozen=True)
class Plan:
    """A run's configuration and what it will take."""

    config: RunConfig
    data: Dataset
    cost: Cost
    backbone: Weights = None
    """The trained backbone that the run starts from, if it does."""

    def __str__(self) -> str:
        """Return 'about 47 min: backbone 20 min, prior.1 12 min, metrics and pictures 15 min'."""
        parts = [f"{name} {_time(seconds)}" for name, seconds in self.cost.seconds.items()]
        return f"about {_time(self.cost.total)}: {', '.join([*parts, f'metrics and pictures {_time(self.cost.metrics)}'])}"


@dataclass(frozen=True)
class Limit:
    """Time for a whole command."""

    minutes: float
    begun: float
    """When the command began, of `time.monotonic`."""

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return 60 * self.minutes - (time.monotonic() - self.begun)


def plan_command(
    config: RunConfig, out: Path, begun: float, progress: Progress = no_progress, *, source: Path | None = None
) -> Plan:
    """Return the plan of a run in the folder `out`, with the steps that fit if the configuration has `minutes`, which count
    from `begun` of `time.monotonic`. `source` is a run whose trained backbone is used.

    Raises UsageError, before the pilot runs, if the run cannot be made there or its trainer does not name its steps.
    """
    see_free(RunFolder(out))
    if not config.component("trainer")[1].planned.steps:
        raise UsageError(
            f"--minutes, --dry-run: trainer {config.trainer.name} does not say which of its options count training steps; "
            "set these with --set instead."
        )
    use_threads(config.engine.threads)
    data = open_data(config, progress)
    backbone = None if source is None else trained_backbone(source, config, data)
    if config.minutes is None:
        return plan(config, data, Evaluation.of(config), progress, backbone)
    return plan_within(config, data, Limit(config.minutes, begun), progress, backbone)


def plan(
    config: RunConfig, data: Dataset, evaluation: Evaluation, progress: Progress = no_progress, backbone: Weights = None
) -> Plan:
    """Return what the configured run will take, on this trained backbone if there is one."""
    return Plan(config, data, measured_cost(config, data, evaluation, progress, backbone), backbone)


def plan_within(
    config: RunConfig, data: Dataset, limit: Limit, progress: Progress = no_progress, backbone: Weights = None
) -> Plan:
    """Return the configuration with the numbers of training steps that fit into the time, without `minutes`, and what it
    will take. It says what is computed at the end too, so that a resumed run, and one of the same configuration, does that.

    Raises UsageError if the time is too short.
    """
    evaluation = Evaluation.of(config)
    cost = measured_cost(config, data, evaluation, progress, backbone)
    left = limit.left
    if cost.metrics > MOST_FOR_METRICS * left:
        allowed = MOST_FOR_METRICS * max(0.0, left) - cost.fixed_metrics
        fewer = round(evaluation.samples * allowed / max(1e-9, cost.metrics - cost.fixed_metrics))
        fewer = min(evaluation.samples, max(FEWEST_SAMPLES, fewer))
        cost.metrics = cost.fixed_metrics + (cost.metrics - cost.fixed_metrics) * fewer / evaluation.samples
        evaluation = replace(evaluation, samples=fewer)
    other = cost.metrics + sum(cost.once.values())
    if left - other < LEAST_FOR_STEPS * left:
        spent = 60 * limit.minutes - left
        least = (spent + other / (1 - LEAST_FOR_STEPS)) / 60
        raise UsageError(
            f"--minutes {limit.minutes:g}: here everything but the training steps takes {_time(spent + other)}; use "
            f"--minutes {least + 1:.0f} or more, or fewer images."
        )
    scaled, cost.planned = _fitted(config, cost, left - other)
    metrics = "quick" if config.evaluation.metrics == "auto" else config.evaluation.metrics
    evaluated = EvaluationSettings(metrics=metrics, samples=evaluation.samples)
    return Plan(scaled.model_copy(update={"minutes": None, "evaluation": evaluated}), data, cost, backbone)


def _fitted(config: RunConfig, cost: Cost, free: float) -> tuple[RunConfig, dict[str, int]]:
    """Return the configuration whose steps take the free seconds, and the steps of each phase."""
    _, settings = config.component("trainer")
    names = [name for name in settings.planned.steps if config.trainer.options[name]]
    own = {name: [phase for phase in cost.planned if _belongs(phase, name, names)] for name in names}
    taking = {name: sum(cost.planned[phase] * cost.steps[phase] for phase in phases) for name, phases in own.items()}
    taking = {name: seconds for name, seconds in taking.items() if seconds > 0}
    shares = dict.fromkeys(taking, 1.0)
    if len(taking) > 1:
        first, *others = taking
        shares = {first: BACKBONE} | {name: (1 - BACKBONE) / len(others) for name in others}
    steps, planned = {}, dict(cost.planned)
    for name, seconds in taking.items():
        phases, factor = own[name], free * shares[name] / seconds
        steps[name] = max(1, int(config.trainer.options[name] * factor))
        planned |= {phase: max(1, int(cost.planned[phase] * factor)) for phase in phases if cost.planned[phase]}
    # Options without a phase of their own, such as the joint steps of a prior without stages, count with the first.
    shared = free * shares[next(iter(taking))] / next(iter(taking.values())) if taking else 1.0
    steps |= {name: max(1, int(config.trainer.options[name] * shared)) for name in names if name not in taking}
    trainer = Component(name=config.trainer.name, **{**config.trainer.options, **steps})
    return config.model_copy(update={"trainer": trainer}), planned


def _belongs(phase: str, name: str, names: list[str]) -> bool:
    """Return whether this option counts the steps of the phase: the first those of 'backbone', the last those of others."""
    return name == (names[0] if phase == "backbone" else names[-1])


def _time(seconds: float) -> str:
    """Return 45 s, 12 min or 3 h 50 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
