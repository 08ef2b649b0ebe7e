"""Plans of a run: steps that fit into a time, from costs that are known here."""

import time
from dataclasses import replace

import pytest

import priorkit
from priorkit.config import RunConfig, resolve
from priorkit.core import Planned
from priorkit.errors import UsageError
from priorkit.workflows.measuring.evaluate import FIGURES, Evaluation
from priorkit.workflows.training import budget
from priorkit.workflows.training.budget import Limit, plan_command, plan_within
from priorkit.workflows.training.pilot import Cost, _whole


def cost(metrics=60.0, once=20.0):
    steps = {"backbone": 0.5, "prior.1": 0.2, "prior.2": 0.1}
    planned = {"backbone": 2_000, "prior.1": 4_500, "prior.2": 4_500}
    return Cost(steps, dict.fromkeys(steps, once), metrics, planned=planned)


@pytest.fixture
def known(monkeypatch):
    """Make every pilot find these costs, at no time."""

    def found(own):
        monkeypatch.setattr(budget, "measured_cost", lambda *_: own)

    found(cost())
    return found


def within(minutes, *options):
    config = resolve(None, options or ["prior.stages=2"], minutes=minutes)
    return plan_within(config, None, Limit(minutes, time.monotonic()))


def test_costs_that_are_linear_are_found_from_two_pilots():
    assert _whole(3 + 100 * 0.1, 3 + 100 * 0.2, 0.1, 0.2) == pytest.approx(103)
    assert _whole(2.0, 2.0, 0.1, 0.2) == 2.0  # it costs the same however much there is
    assert _whole(2.1, 2.0, 0.1, 0.2) == 2.0  # noise
    assert _whole(0.1, 2.0, 0.1, 0.2) == pytest.approx(10)  # at most proportional
    assert _whole(2.0, 2.0, 0.5, 0.5) == 4.0


def test_steps_fill_the_time_that_other_work_leaves(known):
    plan = within(20)
    free = 20 * 60 - 60 - 3 * 20
    steps = plan.config.trainer.options
    assert steps["backbone_steps"] * 0.5 == pytest.approx(0.6 * free, rel=0.01)
    assert steps["prior_steps"] / 2 * (0.2 + 0.1) == pytest.approx(0.4 * free, rel=0.01)
    assert plan.cost.total == pytest.approx(20 * 60, rel=0.01)
    assert plan.cost.planned["prior.1"] == pytest.approx(steps["prior_steps"] / 2, abs=1)
    assert plan.config.minutes is None
    assert Evaluation.of(plan.config) == Evaluation(FIGURES["quick"], 2_000)
    assert str(plan).startswith("about 20 min: backbone ")


def test_a_given_backbone_gets_no_time(known):
    known(Cost({"prior.1": 0.2}, {"prior.1": 10.0}, 50.0, planned={"prior.1": 9_000}))
    plan = within(10, "trainer.backbone_steps=0")
    assert plan.config.trainer.options["backbone_steps"] == 0
    assert plan.config.trainer.options["prior_steps"] * 0.2 == pytest.approx(540, rel=0.01)


def test_metrics_that_would_take_too_long_use_fewer_samples(known):
    known(cost(metrics=600.0))
    plan = within(20)
    assert plan.config.evaluation.samples == pytest.approx(2_000 * 0.3 * 1_200 / 600, abs=1)
    assert plan.cost.metrics == pytest.approx(0.3 * 1_200, rel=0.01)


def test_too_little_time_is_told_with_what_suffices(known):
    known(cost(once=100.0))
    told = r"--minutes 5: here everything but the training steps takes 6 min; use --minutes \d+ or"
    with pytest.raises(UsageError, match=told):
        within(5)
    least = int(_least(known))
    assert within(least).config.trainer.options["backbone_steps"] > 0


def _least(known):
    with pytest.raises(UsageError) as caught:
        within(5)
    return str(caught.value).split("use --minutes ")[1].split()[0]


@pytest.mark.parametrize("minutes", [20, None])
def test_a_trainer_that_names_no_steps_is_told(tmp_path, monkeypatch, minutes):
    config = resolve(None, [], minutes=minutes)
    monkeypatch.setattr(type(config.component("trainer")[1]), "planned", Planned())
    with pytest.raises(UsageError, match="trainer two-phase does not say which of its options count training steps"):
        plan_command(config, tmp_path / "run", time.monotonic())


def test_what_does_not_depend_on_samples_is_not_made_less_by_fewer(known):
    known(replace(cost(metrics=600.0), fixed_metrics=300.0))
    plan = within(20)
    assert plan.config.evaluation.samples == 500  # 60 seconds are left for them, and 500 is the least
    assert plan.cost.metrics == pytest.approx(300 + 300 / 4)


def test_options_without_a_phase_count_with_the_first(known):
    known(Cost({"backbone": 0.5}, {"backbone": 0.0}, 60.0, planned={"backbone": 8_000}))
    options = within(20, "prior=gaussian", "trainer=joint", "backbone=twolayer").config.trainer.options
    assert (options["backbone_steps"] + options["joint_steps"]) * 0.5 == pytest.approx(20 * 60 - 60, rel=0.01)
    options = within(20, "prior=gaussian").config.trainer.options
    assert options["backbone_steps"] < 8_000 and options["prior_steps"] < 20_000


def test_the_same_call_reads_the_planned_run_again(tmp_path, monkeypatch, known):
    known(
        Cost(
            {"backbone": 5.0, "prior.1": 2.0},
            {"backbone": 0.0, "prior.1": 0.0},
            60.0,
            planned={"backbone": 2_000, "prior.1": 9_000},
        )
    )
    options = {"backbone": {"hidden": 16, "latents": [3, 4]}, "prior": {"energy": {"width": 16}, "pool_size": 200}}
    options |= {"sampler": {"steps": 3}, "trainer": {"posterior_samples": 1}, "engine": {"threads": 1}}

    def call():
        priorkit.train(backbone="twolayer", out=tmp_path / "run", minutes=10, options=options, quiet=True)
        return RunConfig.read(tmp_path / "run" / "config.yaml").trainer.options["backbone_steps"]

    steps = call()
    monkeypatch.setattr(budget, "measured_cost", None)  # no pilot is needed again
    assert call() == steps
    assert 55 <= steps <= 64  # 60 % of nine minutes at 5 seconds, less the seconds before the plan
