"""Each check of samplers, backbones, trainers, data and metrics fails for a plugin that is broken in just that way."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from priorkit.core import Chain, Loss, Objective, OptimiserSettings
from priorkit.metrics import Metric
from priorkit.testing import NotApplicable, checks

OPTIONS = {check.name for check in checks("prior")[:5]}
"""They are the same for every kind, and broken in the tests of priors."""


def changed(base, **members):
    return type("Broken", (base,), members)


def with_run(base, change):
    def run(self, log_prob, start, *, generator=None, keep_every=0):
        chain = base.run(self, log_prob, start, generator=generator, keep_every=keep_every)
        return change(chain, start, keep_every)

    return changed(base, run=run)


def drifts_by_tuning(base):
    steps = iter(range(1, 100))
    return changed(base, tuned=lambda self, *a, **k: type(self)(self.settings.model_copy(update={"steps": next(steps)})))


SAMPLERS = {
    "states_have_their_shape": lambda base: with_run(base, lambda c, s, k: replace(c, u=c.u.double())),
    "moments_of_a_gaussian_are_right": lambda base: with_run(base, lambda c, s, k: replace(c, u=s)),
    "draws_follow_the_seed": lambda base: with_run(base, lambda c, s, k: replace(c, u=torch.randn_like(s))),
    "rows_are_independent": lambda base: with_run(base, lambda c, s, k: replace(c, u=c.u + c.diagnostics["energy"][-1])),
    "trajectories_have_every_kth_state": lambda base: with_run(base, lambda c, s, k: replace(c, trajectory=None)),
    "calls_are_counted": lambda base: with_run(base, lambda c, s, k: replace(c, calls=c.calls - 1)),
    "diagnostics_have_one_entry_a_step": lambda base: with_run(base, lambda c, s, k: replace(c, diagnostics={"u": c.u})),
    "tuning_is_a_function_of_the_seed": drifts_by_tuning,
    "runs_in_any_gradient_mode": lambda base: with_run(base, lambda c, s, k: Chain(c.u + float(torch.is_grad_enabled()))),
}


def with_posterior(base, **changes):
    def infer(self, x, *, generator=None):
        posterior = base.infer(self, x, generator=generator)
        return replace(posterior, **{name: change(getattr(posterior, name)) for name, change in changes.items()})

    return changed(base, infer=infer)


def loses_its_offset(base):
    def __init__(self, settings, spec):
        base.__init__(self, settings, spec)
        self.offset = 0.0

    def adapt(self, x):
        self.offset = 1.0

    def latents(self, u, *, temperature=1.0):
        return u

    def generate(self, u, *, temperature=1.0):
        return base.generate(self, u + self.offset, temperature=temperature)

    return changed(base, __init__=__init__, adapt=adapt, latents=latents, generate=generate)


def with_likelihood(base, **members):
    def generate(self, u, *, temperature=1.0):
        made = base.generate(self, u, temperature=temperature)
        made.likelihood.__class__ = changed(type(made.likelihood), **members)
        return made

    return changed(base, generate=generate)


def stands_still(base):
    def objectives(self):
        loss = lambda x, step: Loss(torch.zeros((), requires_grad=True))  # noqa: E731
        return [Objective("still", list(self.parameters()), OptimiserSettings(), loss)]

    return changed(base, objectives=objectives)


def with_density(base, change):
    def posterior_density(self, x):
        density = base.posterior_density(self, x)
        log_ratio = density.log_ratio
        density.log_ratio = lambda u: change(log_ratio(u))
        return density

    return changed(base, posterior_density=posterior_density)


BACKBONES = {
    "builds_from_settings_and_a_data_spec": lambda base: changed(base, spec=property(lambda s: None, lambda s, v: None)),
    "noise_undoes_latents": lambda base: changed(base, noise=lambda self, z, temperature=1.0: 2 * z),
    "walking_gives_what_generate_gives": lambda base: changed(base, latents=lambda self, u, temperature=1.0: u + 1),
    "temperature_scales_the_first_layer": lambda base: changed(
        base, top_down=lambda self, batch, temperature=1.0: base.top_down(self, batch)
    ),
    "likelihood_is_one": lambda base: with_likelihood(base, sample=lambda self, g=None: torch.rand_like(self.mean)),
    "inference_follows_the_seed": lambda base: with_posterior(base, u=torch.randn_like),
    "kl_is_its_monte_carlo_estimate": lambda base: with_posterior(base, kl=lambda kl: 0.5 * kl),
    "posterior_density_is_that_of_the_samples": lambda base: with_density(base, lambda pairs: pairs + 1),
    "elbo_has_its_terms": lambda base: changed(base, elbo=lambda self, x, generator=None: None),
    "observing_twice_changes_nothing": lambda base: changed(base, observe=lambda self, x, generator=None: x / 2),
    "objectives_can_be_minimised": stands_still,
    "comes_back_from_its_weights": loses_its_offset,
}


def with_phases(base, change):
    def phases(self, bench):
        for phase in base.phases(self, bench):
            yield change(phase)

    return changed(base, phases=phases)


def drawn_anew(base):
    numbers = iter(range(100))

    def end(phase):
        parameter = next(phase.learners.parameters())
        return lambda: (parameter.data.fill_(next(numbers)), phase.end())[1]

    return with_phases(base, lambda phase: replace(phase, end=end(phase)))


TRAINERS = {
    "phases_can_be_executed": lambda base: with_phases(base, lambda phase: replace(phase, name="same")),
    "phases_follow_the_seed": drawn_anew,
}


def with_data(base, change):
    return lambda root=None: change(base(root))


def noisy(base):
    calls = iter(range(100))
    return with_data(base, lambda data: replace(data, content=f"{next(calls)}"))


DATA = {
    "splits_fit_their_spec": lambda base: with_data(base, lambda d: replace(d, spec=replace(d.spec, levels=9))),
    "labels_are_classes": lambda base: with_data(base, lambda d: replace(d, spec=replace(d.spec, classes=2))),
    "loading_is_repeatable": noisy,
}
METRICS = {
    "figures_say_what_they_are": lambda base: lambda *a, **k: {"mine": Metric(float("nan"), None, "one number")},
    "figures_follow_the_seed": lambda base: lambda *a, **k: {"mine": Metric(float(np.random.rand()), None, "random")},
}
BROKEN = {"sampler": SAMPLERS, "backbone": BACKBONES, "trainer": TRAINERS, "data": DATA, "metric": METRICS}
CASES = [(kind, check) for kind in BROKEN for check in checks(kind) if check.name in BROKEN[kind]]


@pytest.mark.parametrize("kind", BROKEN)
def test_every_check_has_a_plugin_that_it_fails(kind):
    assert {check.name for check in checks(kind)} - OPTIONS == set(BROKEN[kind])


@pytest.mark.parametrize(("kind", "check"), CASES, ids=[f"{kind}-{check}" for kind, check in CASES])
def test_a_broken_plugin_fails(sound, kind, check):
    with pytest.raises(Exception) as caught:
        check(BROKEN[kind][check.name](sound[kind]))
    assert not isinstance(caught.value, NotApplicable)
    assert isinstance(caught.value, AssertionError), repr(caught.value)


@pytest.mark.parametrize("kind", [*BROKEN, "prior"])
def test_the_sound_plugin_passes(sound, kind):
    for check in checks(kind):
        try:
            check(sound[kind])
        except NotApplicable:
            continue
