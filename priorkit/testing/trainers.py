"""Checks of trainers: their phases, run for some steps on a small backbone and prior."""

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

import torch

from priorkit.core import Phase, Step, Streams, Trainer, Workbench, no_cache, no_progress, set_learning
from priorkit.data.examples import Points
from priorkit.registry import installed
from priorkit.testing.backbones import SPEC, pictures
from priorkit.testing.body import Body
from priorkit.testing.options import settings_of
from priorkit.testing.problem import sampler
from priorkit.testing.training import minimise

__all__ = ["CHECKS"]

STEPS = 2
SMALL = {"latents": [2, 3], "hidden": 8}
SHORT = {"stages": 2, "pool_size": 64, "energy": {"width": 8}}


def few(count: int, seed: int) -> Points:
    """Return a split of a few images with labels."""
    return Points(pictures(count, seed), torch.arange(count) % SPEC.classes)


def bench() -> Workbench:
    """Return a built-in two-layer backbone and two-stage prior, untrained."""
    backbones, priors = installed().load("backbone", "priorkit:twolayer"), installed().load("prior", "priorkit:multistage")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = backbones(backbones.Config.model_validate(SMALL), SPEC)
        prior = priors(priors.Config.model_validate(SHORT), backbone.space())
    device = torch.device("cpu")
    return Workbench(backbone, prior, sampler(3), few(60, 0), few(20, 1), Streams(0), device, no_cache, no_progress)


def _executed(plugin: Any, given: Mapping[str, Any]) -> Iterator[tuple[Phase, dict[str, float]]]:
    """Yield the phases in order, each run for two steps, with the metrics of its end."""
    trainer: Trainer = plugin(settings_of(plugin, given))
    made = bench()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for phase in trainer.phases(made):
            for module in (made.backbone, made.prior):
                set_learning(module, any(module is learner for learner in phase.learners))
            phase.begin()
            minimise(phase.objectives(), [_batch(phase, made, index) for index in range(STEPS)], made.streams, phase.name)
            set_learning(phase.learners, False)
            yield phase, phase.end()


def _batch(phase: Phase, made: Workbench, index: int) -> Any:
    order = torch.arange(phase.population())[: phase.batch_size]
    return phase.batch(order, Step(index, STEPS, made.streams.generator(f"{phase.name}.batch", index)))


def phases_can_be_executed(plugin: Any, given: Mapping[str, Any]) -> None:
    """Every phase begins, takes steps and ends; phases have names and steps, and metrics at their end are finite."""
    names: list[str] = []
    for phase, figures in _executed(plugin, given):
        names.append(phase.name)
        assert phase.steps >= 0 and phase.batch_size >= 1, f"phase {phase.name}: {phase.steps} steps of {phase.batch_size}"
        wrong = [key for key, value in figures.items() if not isfinite(value)]
        assert not wrong, f"phase {phase.name}: {', '.join(wrong)} are not finite at its end"
    assert names, "it lays out no phase for a backbone and a prior that both learn"
    assert len(set(names)) == len(names), f"two phases have the same name in {', '.join(names)}; a resumed run mixes them up"


def phases_follow_the_seed(plugin: Any, given: Mapping[str, Any]) -> None:
    """Two runs with the same seed end with the same weights, which is needed to resume an interrupted run."""
    ends = []
    for _ in range(2):
        learners = [phase.learners for phase, _ in _executed(plugin, given)]
        ends.append([value.clone() for module in learners for value in module.state_dict().values()])
    same = len(ends[0]) == len(ends[1]) and all(torch.equal(a, b) for a, b in zip(*ends, strict=True))
    assert same, "two executions from one seed end with different weights"


CHECKS: list[Body] = [phases_can_be_executed, phases_follow_the_seed]
