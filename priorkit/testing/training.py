"""A training loop of forty lines, with the engine's order of calls: it requires the same of a component as the engine."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from priorkit.core import Loss, Objective, Prior, Settings, Step, Streams, set_learning
from priorkit.testing.problem import LAYOUT, positives, space, stage_context

__all__ = ["SEED", "built", "check_one_value_a_row", "minimise", "restored", "train", "trained"]

OPTIMISERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "adamax": torch.optim.Adamax}
STEPS = 150
BATCH = 128
SEED = 5


def built(plugin: Any, settings: Settings) -> Prior:
    """Return the prior as a run builds it: its initial weights from a seed, ready to sample."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        prior: Prior = plugin(settings, space())
    set_learning(prior, False)
    return prior


def train(plugin: Any, settings: Settings, *, steps: int = STEPS, stages: int | None = None) -> Prior:
    """Return the prior after a short training on the mixture, `steps` steps in each of its stages or of the first
    `stages`."""
    prior = built(plugin, settings)
    check_one_value_a_row(prior, torch.zeros(BATCH, LAYOUT.dim))
    context, streams = stage_context(SEED), Streams(SEED)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        for stage in range(1, (prior.stages if stages is None else min(stages, prior.stages)) + 1):
            if prior.should_train(stage):
                set_learning(prior, True)
                prior.begin_stage(stage, context)
                batches = [positives(BATCH, 100 * stage + index) for index in range(steps)]
                minimise(prior.objectives(), batches, streams, f"prior.{stage}")
                set_learning(prior, False)
                prior.end_stage(stage, context)
    return prior


@torch.no_grad()
def check_one_value_a_row(prior: Prior, u: Tensor) -> None:
    """Raise AssertionError unless the log ratio at u (B, D) has the shape (B,); otherwise broadcasting would fail far from
    its cause."""
    value = prior.log_ratio(u)
    got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
    assert got == (len(u),), f"log_ratio of {tuple(u.shape)} must have the shape {(len(u),)}, got {got}"


def trained(plugin: Any, settings: Settings, *, steps: int = STEPS) -> Prior:
    """Return the same, trained once: the same object for the same arguments, which must not be changed."""
    return _trained(plugin, settings.model_dump_json(), steps)


@lru_cache(maxsize=4)
def _trained(plugin: Any, settings: str, steps: int) -> Prior:
    return train(plugin, plugin.Config.model_validate_json(settings), steps=steps)


def restored(prior: Prior) -> Prior:
    """Return a new prior with the weights of another, as when a run is read."""
    again = built(type(prior), prior.settings)
    again.load_state_dict({name: value.clone() for name, value in prior.state_dict().items()})
    return again


def minimise(objectives: Sequence[Objective], batches: Sequence[Any], streams: Streams, name: str) -> list[dict[str, Loss]]:
    """Take one step per batch; return the losses of each objective. A step with a non-finite loss changes nothing."""
    optimisers = [_optimiser(objective) for objective in objectives]
    told = []
    for index, batch in enumerate(batches):
        step = Step(index, len(batches), streams.generator(name, index))
        losses = {}
        for objective, optimiser in zip(objectives, optimisers, strict=True):
            optimiser.zero_grad(set_to_none=True)
            losses[objective.name] = loss = objective.loss(batch, step)
            _backward(loss.value)
            norm = nn.utils.clip_grad_norm_(objective.parameters, objective.optimiser.clip or torch.inf)
            if bool(torch.isfinite(loss.value.detach()).all() & torch.isfinite(norm)):
                for group in optimiser.param_groups:
                    group["lr"] = objective.optimiser.rate(index, len(batches))
                optimiser.step()
        told.append(losses)
    return told


def _optimiser(objective: Objective) -> torch.optim.Optimizer:
    own = objective.optimiser
    kind: Any = OPTIMISERS[own.name]
    made: torch.optim.Optimizer = kind(
        list(objective.parameters), lr=own.lr, betas=own.betas, eps=own.eps, weight_decay=own.weight_decay
    )
    return made


def _backward(value: Tensor) -> None:
    value.backward()  # type: ignore[no-untyped-call]
