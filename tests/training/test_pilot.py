"""Pilot runs: they find the phases of the whole run, change nothing, and cost little."""

import time
from dataclasses import fields

import pytest
import torch
from torch import nn

from priorkit.config import resolve
from priorkit.core import Phase, Selection, no_progress
from priorkit.errors import PluginError
from priorkit.runs.folder import RunFolder
from priorkit.workflows.measuring.evaluate import FIGURES, Evaluation
from priorkit.workflows.session import open_data
from priorkit.workflows.training import budget, pilot
from priorkit.workflows.training.budget import plan_command
from priorkit.workflows.training.pilot import _subset, measured_cost
from priorkit.workflows.training.train import fit, from_run
from priorkit.workflows.training.validation_cost import validation_cost

TINY = [
    "backbone=twolayer", "backbone.hidden=16", "backbone.latents=[3, 4]", "prior.energy.width=16", "prior.stages=2",
    "sampler.steps=3", "trainer.posterior_samples=1", "trainer.backbone_steps=700", "trainer.prior_steps=901",
    "engine.threads=1",
]  # fmt: skip
SHORT = ["trainer.backbone_steps=3", "trainer.prior_steps=2", "prior.pool_size=50", "prior.adaptive=false"]
SHORT += ["evaluation.metrics=none"]


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


def test_held_out_evaluations_are_part_of_the_time(monkeypatch):
    """Those of the whole run: all held-out data, and the interval that follows from the steps."""
    asked = {}

    def known(phase, longer, selection):
        every = phase.selection and (phase.selection.every, longer.selection.every)
        asked[phase.name] = (phase.steps, longer.steps, every, phase.validate and phase.validate(), selection)
        return 1_000.0, 2_000.0

    config = resolve(None, TINY)
    data = open_data(config, no_progress)
    prior, trainer = config.component("prior")[0], config.component("trainer")[0]
    monkeypatch.setattr(trainer, "_heldout_elbo", lambda self, bench: len(bench.heldout))
    monkeypatch.setattr(prior, "heldout_loss", lambda self, context: time.sleep(0.05) or 1.0)
    monkeypatch.setattr(pilot, "validation_cost", known)
    cost = measured_cost(config, data, Evaluation((), 100))
    assert all(1_000 <= cost.steps[name] < 1_100 and 2_000 <= cost.once[name] < 2_100 for name in cost.planned)
    assert asked["backbone"][:4] == (700, 1_400, None, len(data.heldout))
    assert asked["prior.1"][:4] == (451, 901, (46, 91), None)
    assert set(asked["prior.1"][4]) == {"prior.1", "prior.2"} and min(asked["prior.1"][4].values()) >= 0.05


@pytest.mark.parametrize(("every", "expected"), [(100, (0.5 + 0.03, 0.0)), (200, (0.5, 3.0 * 9))])
def test_how_often_held_out_evaluations_happen(monkeypatch, every, expected):
    """In a phase of 1,000 steps: one of 5 s every ten steps; one of 3 s every hundred, or ten times however many steps."""
    clock = [100.0]

    def validate():
        clock[0] += 5.0
        return {}

    def phase(steps, every):
        nothing = {"population": lambda: 1, "batch": None, "objectives": list}
        selection = Selection(lambda: 1.0, every)
        return Phase(
            "prior", nn.Linear(1, 1), steps, 1, **nothing, selection=selection, validate=validate, validate_every=10
        )

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    found = validation_cost(phase(1_000, 100), phase(2_000, every), {"prior": 3.0})
    assert found == pytest.approx(expected)


def test_a_part_of_the_data_has_a_hash_of_its_own():
    data = open_data(resolve(None, []), no_progress)
    half, third = _subset(data, 1 / 2, 10), _subset(data, 1 / 3, 10)
    assert len({data.content, half.content, third.content}) == 3  # features are cached by it
    assert (len(half.train), len(half.heldout)) == (round(len(data.train) / 2), 180)
    assert len(_subset(data, 0.0, 10).heldout) == 10
    assert {entry.name for entry in fields(data)} >= {"train", "heldout", "content"}


def test_pilots_of_a_run_on_a_trained_backbone_have_it(tmp_path, monkeypatch):
    source, seen = tmp_path / "source", []
    fit(resolve(None, [*TINY, "prior.stages=1", *SHORT]), source)
    trained = RunFolder(source).load_weights("backbone")
    config = resolve(None, from_run(source, [*TINY[3:7], *SHORT[1:]]))

    def heard(run, *others):
        seen.append(run.folder.load_initial_backbone())
        return run_phases(run, *others)

    run_phases = pilot.run_phases
    monkeypatch.setattr(pilot, "run_phases", heard)
    plan_command(config, tmp_path / "run", time.monotonic(), source=source)
    assert len(seen) == 2 and all(one is not None for one in seen)
    assert all(torch.equal(value, one[name]) for one in seen for name, value in trained.items())


def test_a_backbone_that_does_not_fit_is_refused_before_the_pilots(tmp_path, monkeypatch):
    source = tmp_path / "source"
    fit(resolve(None, [*TINY, "prior.stages=1", *SHORT]), source)
    monkeypatch.setattr(budget, "measured_cost", None)
    config = resolve(None, [*from_run(source, [*TINY[3:7], *SHORT[1:]]), "backbone.latents=[3, 5]"])
    with pytest.raises(PluginError, match="do not fit"):
        plan_command(config, tmp_path / "run", time.monotonic(), source=source)
    assert not (tmp_path / "run").exists()
