"""Pilot runs: they find the phases of the whole run, change nothing, and cost little."""

from dataclasses import fields

import pytest
import torch

from priorkit.config import resolve
from priorkit.core import no_progress
from priorkit.workflows.measuring.evaluate import FIGURES, Evaluation
from priorkit.workflows.session import open_data
from priorkit.workflows.training.pilot import _subset, measured_cost

TINY = [
    "backbone=twolayer", "backbone.hidden=16", "backbone.latents=[3, 4]", "prior.energy.width=16", "prior.stages=2",
    "sampler.steps=3", "trainer.posterior_samples=1", "trainer.backbone_steps=700", "trainer.prior_steps=901",
    "engine.threads=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def found():
    config = resolve(None, TINY)
    data = open_data(config, no_progress)
    state = torch.get_rng_state()
    cost = measured_cost(config, data, Evaluation(FIGURES["quick"], 300))
    return cost, torch.equal(state, torch.get_rng_state())


def test_the_steps_of_every_phase_of_the_whole_run(found):
    cost, _ = found
    assert cost.planned == {"backbone": 700, "prior.1": 451, "prior.2": 450}
    assert all(cost.steps[name] > 0 and cost.once[name] >= 0 for name in cost.planned)
    assert cost.total == pytest.approx(sum(cost.seconds.values()) + cost.metrics)


def test_the_callers_random_numbers_stay_the_same(found):
    assert found[1]


def test_a_joint_run_has_its_own_phases():
    options = [*TINY[:6], "trainer=joint", "trainer.chain.steps=2", "trainer.backbone_steps=90", "trainer.joint_steps=200"]
    config = resolve(None, [*options, "engine.threads=1", "backbone.inference=none"])
    cost = measured_cost(config, open_data(config, no_progress), Evaluation((), 100))
    assert cost.planned == {"backbone": 90, "joint.1": 90, "joint.2": 90, "final": 20}


def test_a_part_of_the_data_has_a_hash_of_its_own():
    data = open_data(resolve(None, []), no_progress)
    half, third = _subset(data, 1 / 2, 10), _subset(data, 1 / 3, 10)
    assert len({data.content, half.content, third.content}) == 3  # features are cached by it
    assert (len(half.train), len(half.heldout)) == (round(len(data.train) / 2), 180)
    assert len(_subset(data, 0.0, 10).heldout) == 10
    assert {entry.name for entry in fields(data)} >= {"train", "heldout", "content"}
