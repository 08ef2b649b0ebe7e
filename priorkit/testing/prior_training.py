"""Checks of a prior's training, and of its saved state."""

from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from priorkit.core import Loss, Prior, Sampling, Step, Streams, frozen, set_learning
from priorkit.testing.body import Body, NotApplicable
from priorkit.testing.options import settings_of
from priorkit.testing.prior_draws import drawn
from priorkit.testing.prior_values import points
from priorkit.testing.problem import LAYOUT, distance, positives, sampler, stage_context
from priorkit.testing.training import SEED, built, minimise, train, trained

__all__ = ["CHECKS"]


def objectives_can_be_minimised(plugin: Any, given: Mapping[str, Any]) -> None:
    """Every objective gives a finite scalar whose gradient reaches parameters of the prior.

    A prior without objectives must be trained when its stage begins or ends.
    """
    prior = _in_first_stage(plugin, given)
    objectives = prior.objectives()
    if not objectives:
        _check_that_it_learns_at_once(prior, plugin, given)
    names = [objective.name for objective in objectives]
    assert len(set(names)) == len(names), f"objectives must have names of their own, got {names}"
    own = {id(parameter) for parameter in prior.parameters()}
    for objective in objectives:
        others = sum(id(parameter) not in own for parameter in objective.parameters)
        assert not others, f"objective {objective.name}: {others} of its parameters are not the prior's"
        before = [parameter.detach().clone() for parameter in objective.parameters]
        with torch.random.fork_rng(devices=[]):
            _check_loss(objective.name, objective.loss(positives(64, 1), Step(0, 1, Streams(SEED).generator("check", 0))))
            minimise([objective], [positives(64, 1)], Streams(SEED), "check")
        moved = any(not torch.equal(a, b) for a, b in zip(before, objective.parameters, strict=True))
        assert moved, f"objective {objective.name}: a step moves none of its parameters"


def _in_first_stage(plugin: Any, given: Mapping[str, Any]) -> Prior:
    """Return a prior whose first stage has begun."""
    prior = built(plugin, settings_of(plugin, given))
    if not prior.stages:
        raise NotApplicable("this prior has no stages of training")
    set_learning(prior, True)
    prior.begin_stage(1, stage_context(SEED))
    return prior


def _check_that_it_learns_at_once(prior: Prior, plugin: Any, given: Mapping[str, Any]) -> None:
    set_learning(prior, False)
    prior.end_stage(1, stage_context(SEED))
    before = built(plugin, settings_of(plugin, given)).state_dict()
    same = all(name in before and torch.equal(value, before[name]) for name, value in prior.state_dict().items())
    assert not same, (
        "objectives() is empty, and begin_stage and end_stage change no parameter or registered buffer, so that nothing is "
        "learnt; set stages = 0 if that is meant"
    )


def _check_loss(name: str, loss: Loss) -> None:
    assert isinstance(loss, Loss), f"objective {name} gives {type(loss).__name__}, not a priorkit.core.Loss"
    assert loss.value.ndim == 0, f"objective {name}: its loss has the shape {tuple(loss.value.shape)}, not that of a scalar"
    assert bool(torch.isfinite(loss.value)), f"objective {name}: its loss is {float(loss.value.detach())} at the first step"
    for key, value in loss.metrics.items():
        assert not value.requires_grad, f"objective {name}: its figure {key} is not detached"
        assert value.ndim <= 1, f"objective {name}: its figure {key} has the shape {tuple(value.shape)}"


def heldout_loss_is_the_same_again(plugin: Any, given: Mapping[str, Any]) -> None:
    """Between steps the held-out loss is None or a number, the same if computed again, and computing it changes nothing."""
    prior = _in_first_stage(plugin, given)
    context, before = stage_context(SEED), {name: value.clone() for name, value in prior.state_dict().items()}
    with torch.no_grad(), frozen(prior):
        first, again = (prior.heldout_loss(context) for _ in range(2))
    assert first is None or isinstance(first, float), f"heldout_loss gives {type(first).__name__}, not a float or None"
    assert first == again, f"heldout_loss gives {first}, then {again} of the same weights; draw from a stream of its own"
    moved = [name for name, value in prior.state_dict().items() if not torch.equal(value, before[name])]
    assert not moved, f"heldout_loss changes {', '.join(moved[:3])}"


def training_follows_the_seed(plugin: Any, given: Mapping[str, Any]) -> None:
    """Two trainings with the same seed end with the same weights, which is needed to resume an interrupted run."""
    settings = settings_of(plugin, given)
    if not built(plugin, settings).stages:
        raise NotApplicable("this prior has no stages of training")
    first, again = (train(plugin, settings, steps=3, stages=1).state_dict() for _ in range(2))
    different = [name for name, value in first.items() if not torch.equal(value, again[name])]
    assert not different, f"two trainings from one seed differ in {', '.join(different[:3])}"


def training_does_not_lead_away(plugin: Any, given: Mapping[str, Any]) -> None:
    """After a short training, samples are no farther from the data than those of N(0, I)."""
    prior = trained(plugin, settings_of(plugin, given))
    if not prior.stages:
        raise NotApplicable("this prior has no stages of training")
    data, gaussian = positives(800, 77).u, points(800)
    before, after = distance(gaussian, data), distance(drawn(prior, 800).u, data)
    assert after < 1.2 * before, (
        f"the energy distance to data is {after:.2f} after training and {before:.2f} for N(0, I); is a sign wrong?"
    )


def comes_back_from_its_weights(plugin: Any, given: Mapping[str, Any]) -> None:
    """A prior restored from its saved weights has the same density and the same samples."""
    settings = settings_of(plugin, given)
    prior = trained(plugin, settings)
    again = built(plugin, settings)
    saved = safetensors.torch.save({name: value.contiguous().clone() for name, value in prior.state_dict().items()})
    again.load_state_dict(safetensors.torch.load(saved))
    u = points(20)
    with torch.no_grad():
        same = torch.equal(prior.log_ratio(u), again.log_ratio(u))
    assert same, "log_ratio changes when the prior is read back; keep what it needs in parameters and registered buffers"
    same = torch.equal(drawn(prior, 10).u, drawn(again, 10).u)
    assert same, "draws change when the prior is read back; keep what they need in parameters and registered buffers"
    assert prior.trained_stages == again.trained_stages, "trained_stages changes when the prior is read back"


def keeps_nothing_but_tensors(plugin: Any, given: Mapping[str, Any]) -> None:
    """A run saves only tensors: no pickled objects, nothing that must be executed to be read."""
    prior = trained(plugin, settings_of(plugin, given))
    wrong = [name for name, value in prior.state_dict().items() if not isinstance(value, Tensor)]
    assert not wrong, f"the state holds something else than tensors: {', '.join(wrong)}"
    plain = nn.Module.get_extra_state
    pickled = [type(part).__name__ for part in prior.modules() if type(part).get_extra_state is not plain]
    assert not pickled, f"get_extra_state of {', '.join(pickled)} is never saved; use register_buffer"


def works_on_a_gpu(plugin: Any, given: Mapping[str, Any]) -> None:
    """On a GPU, samples and log ratios stay on it."""
    if not torch.cuda.is_available():
        raise NotApplicable("torch sees no GPU")
    prior = built(plugin, settings_of(plugin, given)).to("cuda")
    generator = torch.Generator(device="cuda").manual_seed(0)
    u = prior.draw(5, Sampling(sampler(), generator)).u
    assert u.is_cuda and u.shape == (5, LAYOUT.dim), f"draws with a generator on the GPU lie on {u.device}"
    assert prior.log_ratio(u).is_cuda, "log_ratio of points on the GPU leaves it"


CHECKS: list[Body] = [
    objectives_can_be_minimised,
    heldout_loss_is_the_same_again,
    training_follows_the_seed,
    training_does_not_lead_away,
    comes_back_from_its_weights,
    keeps_nothing_but_tensors,
    works_on_a_gpu,
]
