"""Checks that a stage of training can be interrupted: it depends on the saved state and the run's streams only."""

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from priorkit.core import Objective, Prior, Step, Streams, set_learning
from priorkit.testing.body import Body, NotApplicable
from priorkit.testing.options import settings_of
from priorkit.testing.problem import positives, stage_context
from priorkit.testing.training import SEED, built, check_one_value_a_row, minimise, restored

__all__ = ["CHECKS"]

STEPS = 3
"""Number of steps before the interruption."""


def resumes_in_a_stage(plugin: Any, given: Mapping[str, Any]) -> None:
    """A prior that is restored in the middle of a stage, whose `begin_stage` is then called again, has the same state and
    the same losses as one that was not interrupted; its tensors have the same memory layout."""
    prior = _begun(plugin, given)
    own = prior.state_dict()
    turned = [name for name, value in restored(prior).state_dict().items() if value.stride() != own[name].stride()]
    assert not turned, (
        f"{turned[0]} has other strides than when it is restored, so that sums differ in their last bits after a resume; "
        "set it with .contiguous() or copy_"
    )
    if not prior.objectives():
        raise NotApplicable("this prior takes no training steps")
    with torch.random.fork_rng(devices=[]):
        minimise(prior.objectives(), [positives(64, index) for index in range(STEPS)], Streams(SEED), "resuming")
        again = restored(prior)
        _begin(again)
        for name, value in prior.state_dict().items():
            same = torch.equal(value, again.state_dict()[name])
            assert same, f"begin_stage sets {name} anew, so that a resumed run loses what its steps have learnt"
        _hand_over(prior.objectives(), again.objectives())
        different = _different(_losses(prior), _losses(again))
    assert not different, (
        f"after a resume the loss of objective {different} is another; keep what it needs in parameters, registered buffers "
        "or the objective's buffers, or let begin_stage make it from the context"
    )


def training_uses_no_global_randomness(plugin: Any, given: Mapping[str, Any]) -> None:
    """The beginning, the losses without dropout and the end of a stage are the same under different seeds of the global
    generators of torch, numpy and python."""
    found = []
    for seed in (1, 2):
        with _seeded(seed):
            prior = _begun(plugin, given)
            begun = _copied(prior)
            set_learning(prior, False)
            losses = _losses(prior)
            prior.end_stage(1, stage_context(SEED))
            found.append((begun, losses, _copied(prior)))
    for what, one, other in zip(("begin_stage", "the loss of objective", "end_stage"), *found, strict=True):
        different = _different(one, other)
        assert not different, (
            f"{what} draws from a global generator ({different}); draw from step.generator or a stream of context.streams"
        )


def _begun(plugin: Any, given: Mapping[str, Any]) -> Prior:
    """Return a prior whose first stage has begun."""
    prior = built(plugin, settings_of(plugin, given))
    if not prior.stages:
        raise NotApplicable("this prior has no stages of training")
    check_one_value_a_row(prior, positives(64, 0).u)
    _begin(prior)
    return prior


def _hand_over(objectives: Sequence[Objective], others: Sequence[Objective]) -> None:
    """Copy the tensors that a checkpoint holds beside the state dict, such as persistent chains."""
    for one, other in zip(objectives, others, strict=True):
        for value, place in zip([*one.buffers, *one.rows], [*other.buffers, *other.rows], strict=True):
            place.copy_(value)


def _begin(prior: Prior) -> None:
    set_learning(prior, True)
    prior.begin_stage(1, stage_context(SEED))


def _losses(prior: Prior) -> dict[str, Tensor]:
    """Return the value of each objective on the same batch; dropout draws the same numbers each time."""
    found = {}
    for objective in prior.objectives():
        state = torch.get_rng_state()
        if prior.training:
            torch.manual_seed(SEED)
        step = Step(STEPS, 2 * STEPS, Streams(SEED).generator("resuming", STEPS))
        found[objective.name] = objective.loss(positives(64, STEPS), step).value.detach()
        torch.set_rng_state(state)
    return found


def _copied(prior: Prior) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in prior.state_dict().items()}


def _different(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str:
    """Return the first name whose values differ, or nothing."""
    return next((name for name, value in one.items() if not torch.equal(value, other[name])), "")


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generators within the block."""
    others, own = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(others)
            random.setstate(own)


CHECKS: list[Body] = [resumes_in_a_stage, training_uses_no_global_randomness]
