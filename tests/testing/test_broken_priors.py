"""Each check of priors and options fails for a prior that is broken in just that way, and passes for the sound one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ConfigDict
from torch import nn

from priorkit.core import Draw, Loss, Prior, Settings
from priorkit.testing import NotApplicable, checks, run_checks


class Undocumented(Settings):
    """An option without a docstring."""

    width: int = 3


class Lax(Settings):
    """Takes any option."""

    model_config = ConfigDict(extra="allow")


class Untyped(Settings):
    """Takes any value."""

    width: object = 3
    """Anything."""


class Demanding(Settings):
    """No default."""

    width: int
    """How wide."""


class Forgetful(Settings):
    """Comes back from JSON as something else."""

    widths: tuple[int, ...] | list[int] = (1, 2)
    """Both are fine."""

    def __eq__(self, other):
        return isinstance(other, Forgetful) and type(self.widths) is type(other.widths)


def changed(base, **members):
    return type("Broken", (base,), members)


def with_log_ratio(base, change):
    def log_ratio(self, u, *, stages=None):
        return change(self, u, base.log_ratio(self, u, stages=stages))

    return changed(base, log_ratio=log_ratio)


def with_draw(base, change):
    def draw(self, n, sampling):
        return change(self, base.draw(self, n, sampling), sampling)

    return changed(base, draw=draw)


def with_loss(base, change):
    return changed(base, _loss=lambda self, batch, step: change(self, base._loss(self, batch, step), batch))


class NoModule:
    """Built as a prior is, and none."""

    stages = 0
    Config = Settings

    def __init__(self, settings, space):
        self.settings = settings

    def train(self, mode):
        return self

    def requires_grad_(self, learns):
        return self


def forgets_its_offset(base):
    def end_stage(self, stage, context):
        self.offset = context.positives.u[0, 0]
        return {}

    made = with_log_ratio(base, lambda self, u, value: value + getattr(self, "offset", 0.0) * u.sum(1))
    return changed(made, end_stage=end_stage)


def asks_global_randomness(base):
    return with_draw(base, lambda self, draw, asked: Draw(draw.u + 0 * torch.randn(1)))


def in_inference_mode(base):
    return with_draw(base, lambda self, draw, asked: Draw(draw.u + float(torch.is_grad_enabled())))


def reads_at_every_step(base):
    """A prior that is drawn by chains, and looks at their first point."""

    def draw(self, n, sampling):
        start = self.standard_normal(n, sampling.generator)
        return Draw(sampling.sampler.run(lambda u: self.log_ratio(u) + 0 * float(u.detach()[0, 0]), start).u)

    return changed(base, draw=draw)


def passes_over_labels(base):
    def draw(self, n, sampling):
        condition = sampling.condition
        unlabelled = None if condition is None else replace(condition, labels={})
        return base.draw(self, n, replace(sampling, condition=unlabelled))

    return changed(base, draw=draw)


def ignores_learnt_labels(base):
    return changed(passes_over_labels(base), attributes=property(lambda self: {"label": 2}))


def moves_with_time(base):
    calls = iter(range(10**6))
    return with_loss(base, lambda self, loss, batch: Loss(loss.value * (1 + next(calls))))


BROKEN = {
    "every_option_has_a_default": lambda base: changed(base, Config=Demanding),
    "every_option_is_documented": lambda base: changed(base, Config=Undocumented),
    "unknown_options_are_refused": lambda base: changed(base, Config=Lax),
    "nonsense_is_refused": lambda base: changed(base, Config=Untyped),
    "options_survive_a_file": lambda base: changed(base, Config=Forgetful),
    "builds_from_settings_and_a_latent_space": lambda base: NoModule,
    "log_ratio_has_one_value_a_row": lambda base: with_log_ratio(base, lambda self, u, value: value[:, None]),
    "log_ratio_is_finite": lambda base: with_log_ratio(base, lambda self, u, value: value + (4 - u.norm(dim=1)).log()),
    "rows_do_not_see_each_other": lambda base: with_log_ratio(base, lambda self, u, value: value + u.mean()),
    "layer_terms_add_up": lambda base: changed(base, layer_log_ratio=lambda self, u, stages=None: u[:, :2]),
    "layer_terms_do_not_read_layers_below": lambda base: changed(
        base, layer_log_ratio=lambda self, u, stages=None: self.log_ratio(u, stages=stages)[:, None].expand(-1, 2) / 2
    ),
    "stages_that_are_trained_are_all": lambda base: changed(base, trained_stages=0),
    "gradient_of_log_ratio_is_right": lambda base: with_log_ratio(base, lambda self, u, value: value + u.detach().sum(1)),
    "a_normalised_density_integrates_to_one": lambda base: changed(
        with_log_ratio(base, lambda self, u, value: value + 1), normalised=True
    ),
    "log_ratio_leaves_global_state_alone": lambda base: with_log_ratio(base, lambda self, u, v: v + torch.randn(1)),
    "draws_have_their_shape": lambda base: with_draw(base, lambda self, draw, asked: Draw(draw.u[:, :2])),
    "draws_follow_the_seed": lambda base: with_draw(base, lambda self, draw, asked: Draw(torch.randn_like(draw.u))),
    "draws_leave_global_state_alone": asks_global_randomness,
    "draws_do_not_depend_on_the_gradient_mode": in_inference_mode,
    "chains_do_not_wait_for_the_device": reads_at_every_step,
    "kept_states_change_nothing": lambda base: with_draw(base, lambda s, d, asked: Draw(d.u + asked.keep_every)),
    "keeps_fixed_layers": lambda base: changed(base, draw=lambda s, n, a: base.draw(s, n, replace(a, condition=None))),
    "refuses_labels_it_has_not_learnt": passes_over_labels,
    "honours_labels_it_has_learnt": ignores_learnt_labels,
    "draws_have_the_stated_density": lambda base: with_draw(base, lambda self, draw, asked: Draw(1.4 * draw.u)),
    "objectives_can_be_minimised": lambda base: with_loss(base, lambda s, loss, batch: Loss(loss.value.expand(3))),
    "heldout_loss_is_the_same_again": lambda base: changed(base, heldout_loss=lambda self, context: float(torch.rand(()))),
    "training_follows_the_seed": moves_with_time,
    "resumes_in_a_stage": lambda base: changed(base, begin_stage=lambda self, *about: nn.init.zeros_(self.mean.data)),
    "training_uses_no_global_randomness": lambda base: with_loss(
        base, lambda self, loss, batch: Loss(loss.value + 0.1 * torch.randn(()))
    ),
    "training_does_not_lead_away": lambda base: with_loss(
        base, lambda self, loss, batch: Loss((self.mean + 2).square().sum() + 0 * loss.value)
    ),
    "comes_back_from_its_weights": forgets_its_offset,
    "keeps_nothing_but_tensors": lambda base: changed(base, get_extra_state=lambda self: object()),
}
HARDWARE = {"works_on_a_gpu"}


def test_every_check_has_a_prior_that_it_fails():
    assert {check.name for check in checks("prior")} - HARDWARE == set(BROKEN)


@pytest.mark.parametrize("check", [check for check in checks("prior") if check.name in BROKEN], ids=str)
def test_a_broken_prior_fails(sound, check):
    # Not the base of NotApplicable: a check that is skipped has not failed.
    with pytest.raises(Exception) as caught:
        check(BROKEN[check.name](sound["prior"]))
    assert not isinstance(caught.value, NotApplicable)
    assert isinstance(caught.value, AssertionError), repr(caught.value)
    assert "\n" not in str(caught.value).split("\nassert")[0]


def begins_with_global_randomness(base):
    def begin_stage(self, stage, context):
        self.mean.data = torch.from_numpy(np.random.randn(3)).float()

    return changed(base, begin_stage=begin_stage)


def forgets_its_steps(base):
    """The loss depends on what was computed at earlier steps, outside the state."""
    return with_loss(base, lambda self, loss, batch: Loss(loss.value + _counted(self)))


def stores_by_columns(base):
    """A buffer is set to a transposed tensor, which is restored by rows."""

    def __init__(self, settings, space):
        base.__init__(self, settings, space)
        self.register_buffer("factor", torch.eye(3))

    def begin_stage(self, stage, context):
        self.factor = torch.linalg.cholesky(torch.eye(3, dtype=torch.float64)).float()

    return changed(base, __init__=__init__, begin_stage=begin_stage)


def _counted(self):
    self.calls = getattr(self, "calls", 0) + 1
    return float(self.calls)


@pytest.mark.parametrize(
    ("name", "broken", "told"),
    [
        ("training_uses_no_global_randomness", begins_with_global_randomness, "begin_stage draws from a global generator"),
        ("resumes_in_a_stage", forgets_its_steps, "after a resume the loss of objective"),
        ("resumes_in_a_stage", stores_by_columns, "factor has other strides than when it is restored"),
    ],
)
def test_other_ways_to_lose_a_stage_fail(sound, name, broken, told):
    check = next(check for check in checks("prior") if check.name == name)
    with pytest.raises(AssertionError) as caught:
        check(broken(sound["prior"]))
    assert told in str(caught.value)


@pytest.mark.parametrize("change", ["parameters", "names", "metrics", "still"])
def test_other_broken_objectives_fail(sound, change):
    base = sound["prior"]

    def objectives(self):
        (one,) = base.objectives(self)
        if change == "parameters":
            return [replace(one, parameters=[nn.Parameter(torch.zeros(3))])]
        if change == "names":
            return [one, one]
        if change == "metrics":
            return [replace(one, loss=lambda batch, step: Loss(v := one.loss(batch, step).value, {"v": v}))]
        return [replace(one, loss=lambda batch, step: Loss((0 * self.mean).sum()))]

    check = next(check for check in checks("prior") if check.name == "objectives_can_be_minimised")
    with pytest.raises(AssertionError):
        check(changed(base, objectives=objectives))


class OneShot(Prior):
    """A Gaussian of the posterior's moments, fitted when the stage begins; nothing is left for steps to minimise."""

    def __init__(self, settings, space):
        super().__init__(settings, space)
        self.register_buffer("mean", torch.zeros(space.layout.dim))

    def begin_stage(self, stage, context):
        self.mean.copy_(context.positives.u.mean(0))

    def log_ratio(self, u, *, stages=None):
        return u.new_zeros(len(u)) if stages == 0 else u @ self.mean - 0.5 * self.mean.square().sum()


def test_a_prior_that_is_fitted_at_once_needs_no_objectives():
    failed = [(result.check.name, result.reason) for result in run_checks("prior", OneShot) if result.outcome == "failed"]
    assert failed == []


def test_a_prior_without_objectives_must_learn_at_once():
    idle = changed(OneShot, begin_stage=lambda self, stage, context: None)
    check = next(check for check in checks("prior") if check.name == "objectives_can_be_minimised")
    with pytest.raises(AssertionError, match="nothing is learnt; set stages = 0"):
        check(idle)


@pytest.mark.parametrize("change", [lambda v: v[:, None], lambda v: v[:2], lambda v: v.sum(), lambda v: 0.0])
def test_a_log_ratio_of_wrong_shape_is_told_in_one_sentence_by_every_check(sound, change):
    broken = with_log_ratio(sound["prior"], lambda self, u, value: change(value))
    failed = {r.check.name: r.reason for r in run_checks("prior", broken) if r.outcome == "failed"}
    for name in ("log_ratio_has_one_value_a_row", "draws_have_their_shape", "training_follows_the_seed"):
        assert failed[name].startswith("log_ratio of (128, 3) must have the shape (128,), got "), failed[name]
    others = {name: reason for name, reason in failed.items() if "must have the shape" not in reason}
    assert set(others) <= {"objectives_can_be_minimised"}


def test_a_loss_that_is_not_finite_is_told_without_a_warning(sound, recwarn):
    broken = with_loss(sound["prior"], lambda self, loss, batch: Loss(loss.value * torch.nan))
    (told,) = [result for result in run_checks("prior", broken) if result.check.name == "objectives_can_be_minimised"]
    assert "its loss is nan at the first step" in told.reason
    assert [str(warning.message) for warning in recwarn] == []


def test_what_plugins_new_writes_passes_with_and_without_its_draw(sound):
    for prior in (sound["prior"], changed(sound["prior"], draw=Prior.draw)):
        assert [result.reason for result in run_checks("prior", prior) if result.outcome == "failed"] == []
    assert "leave `draw` out" in sound["prior"].draw.__doc__
