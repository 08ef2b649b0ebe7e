"""Ratios to another prior, against a mixture that is known, and that a linear log ratio turns into a known mixture."""

import math
from types import SimpleNamespace

import pytest
import torch
from based import KINDS, MEANS, SCALES, WEIGHTS, known, on_mixture, space, tilted
from linear import Linear
from priorkit_mcmc import Hmc, HmcSettings, Langevin, LangevinSettings, Mala, MalaSettings, Sir, SirSettings
from priorkit_mixture import MixturePrior, MixtureSettings
from priorkit_multistage import MultistagePrior, MultistageSettings
from priorkit_twophase.trainer import TwoPhaseSettings, TwoPhaseTrainer
from seeding import seeded

from priorkit.core import Condition, Latents, Sampling, StageContext, Step, Streams
from priorkit.core.base_density import without_chains
from priorkit.errors import UsageError
from priorkit.metrics.weighted import weighted_log_z
from priorkit.registry import installed
from priorkit.workflows.measuring import density

ALONG = torch.tensor([0.0, 0.9], dtype=torch.float64)
"""A ratio that leaves the weights of the two far modes nearly alone."""


def mixture(*sizes):
    """The base by itself."""
    holder = SimpleNamespace(base_prior=MixturePrior(MixtureSettings(), space(*sizes)).double())
    return known(holder, sum(sizes)).base_prior


def points(n, dim, seed=1):
    return 3 * torch.randn(n, dim, generator=seeded(seed), dtype=torch.float64)


def near_modes(u, n, weights, means):
    """The share of each mode and its mean, within 5 standard errors."""
    left = u[:, 0] < 0
    share = left.double().mean()
    assert abs(share - weights[0]) < 5 * math.sqrt(0.25 / n)
    for mode, rows in enumerate((left, ~left)):
        allowed = 5 * SCALES[mode, : u.shape[1]] / rows.sum().sqrt()
        assert ((u[rows].mean(0) - means[mode]).abs() < allowed).all()


@pytest.mark.parametrize("kind", KINDS)
def test_an_untrained_ratio_leaves_the_base_as_it_is(kind):
    """Its density and, for one seed, its very draws; after no stage it is N(0, I)."""
    made, base = on_mixture(kind, 1, 1), mixture(1, 1)
    u = points(50, 2)
    for stages in (1, 2, None):
        torch.testing.assert_close(made.log_prob(u, stages=stages), base.log_prob(u), rtol=1e-12, atol=1e-12)
    assert not made.log_ratio(u, stages=0).any()
    drawn = made.draw(40, Sampling(None, seeded(3), stages=1))
    assert torch.equal(drawn.u, base.draw(40, Sampling(None, seeded(3))).u) and not drawn.chains
    noise = torch.randn(40, 2, generator=seeded(3), dtype=torch.float64)
    assert torch.equal(made.draw(40, Sampling(None, seeded(3), stages=0)).u, noise)


@pytest.mark.parametrize("kind", KINDS)
def test_the_ratio_counts_only_after_the_base(kind):
    made, base = on_mixture(kind, 1, 1, ratio=ALONG), mixture(1, 1)
    u = points(50, 2)
    torch.testing.assert_close(made.log_ratio(u, stages=1), base.log_ratio(u))
    torch.testing.assert_close(made.log_ratio(u), base.log_ratio(u) + u @ ALONG)
    assert [made.is_normalised(stages) for stages in (0, 1, 2, None)] == [True, True, False, False]


@pytest.mark.parametrize("sampling", ["progressive", "stagewise"])
def test_a_chain_per_stage_is_on_the_base_too(sampling):
    """progressive ends in base times both ratios, stagewise in base times the last, as its chains are long here; the modes'
    shares are those of the first stage, where starts are chosen."""
    made, n = (
        MultistagePrior(MultistageSettings(stages=2, sampling=sampling, base_prior="mixture", bound=None), space(1, 1)),
        3_000,
    )
    ratios = torch.tensor([[0.0, 0.9], [0.0, -0.4]], dtype=torch.float64)
    made = known(made.double(), 2).eval()
    made.energies = torch.nn.ModuleList(Linear(ratio) for ratio in ratios)
    made.active.fill_(3)
    drawn = made.draw(n, Sampling(SAMPLERS["mala"], seeded(6)))
    means = tilted(ratios.sum(0) if sampling == "progressive" else ratios[1])[1]
    assert len(drawn.chains) == 2
    near_modes(drawn.u, n, tilted(ratios[0])[0], means)


@pytest.mark.parametrize("kind", KINDS)
def test_terms_of_layers_are_those_of_the_base_and_of_the_ratio(kind):
    made, base = on_mixture(kind, 1, 1, energy={"coupling": "separable"}), mixture(1, 1)
    u = points(20, 2)
    torch.testing.assert_close(made.layer_log_ratio(u), base.layer_log_ratio(u))
    assert not made.layer_log_ratio(u, stages=0).any()
    assert on_mixture(kind, 1, 1, energy={"coupling": "coupled"}).layer_log_ratio(u) is None


def test_the_gaussian_base_is_no_module_and_draws_as_without_one():
    """So that runs from before it load, and every random number is the one of a chain from N(0, I)."""
    for stages in (1, 3):
        prior = MultistagePrior(MultistageSettings(stages=stages), space(20))
        assert prior.base_prior is None and not any("base" in name for name in prior.state_dict())
        sampler, generator = Langevin(LangevinSettings(steps=3)), seeded(5)
        prior.active.fill_(prior.stages)
        chain = sampler.run(prior.log_prob, torch.randn(9, 20, generator=generator), generator=generator)
        assert torch.equal(prior.draw(9, Sampling(sampler, seeded(5))).u, chain.u)


SAMPLERS = {
    "mala": Mala(MalaSettings(steps=60, step_size=0.2, choose="fixed")),
    "hmc": Hmc(HmcSettings(steps=20, step_size=0.1, choose="fixed")),
    "langevin": Langevin(LangevinSettings(steps=300, step_size=0.03)),
    "sir": Sir(SirSettings(proposals=200)),
}


@pytest.mark.parametrize(
    ("kind", "sampler"), [("multistage", name) for name in SAMPLERS] + [("jointebm", "mala"), ("tre", "mala")]
)
def test_draws_follow_base_and_ratio_in_modes_that_no_chain_joins(kind, sampler):
    """The ratio shifts both modes and their shares. Chains from N(0, I) would mostly not find the modes; those from the
    base, which do not cross either, have their shares from the choice of their starts."""
    made, n = on_mixture(kind, 1, 1, ratio=ALONG), 3_000
    weights, means, _ = tilted(ALONG)
    near_modes(made.draw(n, Sampling(SAMPLERS[sampler], seeded(7))).u, n, weights, means)


def test_sir_weighs_proposals_of_the_base():
    """Effective share of proposals E[r]^2 / E[r^2] of the linear ratio; the chain's energy is the log density."""
    made = on_mixture("multistage", 1, 1, ratio=ALONG)
    chain = made.draw(200, Sampling(Sir(SirSettings(proposals=2_000)), seeded(8))).chains[0]
    expected = (2 * tilted(ALONG)[2] - tilted(2 * ALONG)[2]).exp()
    assert chain.diagnostics["effective_sample_size"].item() / 2_000 == pytest.approx(expected.item(), rel=0.02)
    torch.testing.assert_close(chain.diagnostics["energy"].mean(), made.log_prob(chain.u).mean().float())


def test_below_fixed_layers_base_and_ratio_are_those_given_them():
    """A fixed first layer at a mode's mean is of that mode; a ratio along the second shifts its mean there by v w."""
    made, n = on_mixture("multistage", 1, 1, ratio=ALONG), 4_000
    top = MEANS[torch.arange(n) % 2, :1]
    for sampler in ("sir", "mala"):
        u = made.draw(n, Sampling(SAMPLERS[sampler], seeded(9), condition=Condition(top=top))).u
        assert torch.equal(u[:, :1], top)
        for mode in range(2):
            allowed = 5 * SCALES[mode, 1] / math.sqrt(n / 2)
            assert abs(u[mode::2, 1].mean() - tilted(ALONG)[1][mode, 1]) < allowed


def test_a_pilot_run_starts_from_the_base():
    """From N(0, I) the first gradients towards modes at 6 with scale 0.5 are of order 24; the step size would be tiny."""
    made = on_mixture("multistage", 1, 1)
    seen = []

    class Noted(Langevin):
        def tuned(self, log_prob, start, *, generator=None):
            seen.append(start)
            return self

    for prior in (made, on_mixture("tre", 1, 1)):
        prior.tuned(Noted(LangevinSettings(steps=1)), generator=seeded(4))
    assert all((start[:, 0].abs() > 3).all() for start in seen) and len(seen) == 2


RATIO = torch.tensor([0.05, 0.7], dtype=torch.float64)


def test_log_z_is_the_mean_ratio_at_draws_of_the_base():
    """Against the closed form and the trapezoid rule; the effective share is E[r]^2 / E[r^2]."""
    made = on_mixture("multistage", 1, 1, ratio=RATIO)
    truth = tilted(RATIO)[2].item()
    axis, other = torch.linspace(-12, 12, 1201, dtype=torch.float64), torch.linspace(-6, 7, 651, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, other)
    cell = (axis[1] - axis[0]) * (other[1] - other[0])
    summed = made.log_prob(grid).logsumexp(0) + cell.log() - math.log(2 * math.pi)
    assert summed.item() == pytest.approx(truth, abs=1e-6)
    found = weighted_log_z(made.log_ratio, made.base_density(without_chains()), draws=20_000, generator=seeded(11))
    # The half-width is 1.96 standard errors: within 2.5 of them.
    assert abs(found.value - truth) < 2.5 / 1.96 * found.error < 0.05
    assert found.effective / 20_000 == pytest.approx((2 * tilted(RATIO)[2] - tilted(2 * RATIO)[2]).exp().item(), rel=0.03)
    with pytest.raises(UsageError, match="not finite"):
        weighted_log_z(lambda u: u[:, 0] * torch.nan, made.base_density(without_chains()), draws=10)


def measured(prior, stages):
    backbone = SimpleNamespace(layout=prior.layout, device=torch.device("cpu"))
    return density._log_z(SimpleNamespace(prior=prior, backbone=backbone), stages, 0, lambda items, *_: items)


def test_log_z_of_a_run_is_zero_for_the_base_and_weighted_for_the_ratio(caplog):
    """With too few effective draws it is annealed from N(0, I), which estimates the same number."""
    made = on_mixture("multistage", 1, 1, ratio=RATIO)
    assert measured(made, 1)[""].value == 0 and measured(made, 1)[""].spread is None
    found = measured(made, None)
    assert set(found) == {"", "_effective"} and abs(found[""].value - tilted(RATIO)[2]) < 2 * found[""].spread
    mild = on_mixture("multistage", 1, ratio=torch.tensor([0.3], dtype=torch.float64)).float()
    (parts,) = mild.base_prior.mixtures
    parts.set({"log_weights": torch.zeros(1), "means": torch.tensor([[0.3]]), "factors": torch.tensor([[0.8]])})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(density, "EFFECTIVE", 1e9)
        annealed = measured(mild, None)
    # E[e^(w u)] of N(m, s^2) is e^(w m + w^2 s^2 / 2).
    truth = 0.3 * 0.3 + 0.3**2 * 0.8**2 / 2
    assert "_lower" in annealed and "annealed from N(0, I)" in caplog.text
    assert abs(annealed[""].value - truth) < 2 * annealed[""].spread


@pytest.mark.parametrize("kind", ["multistage", "tre"])
def test_the_ratio_to_the_base_is_what_its_classifier_learns(kind):
    """Positives are the mixture times e^(w . u). The logit is linear, so the loss is convex; over n = 60,000 points an error
    of 0.1 is more than 5 standard errors. Against N(0, I) the two modes would need no linear ratio at all."""
    ratio, n = torch.tensor([0.02, 0.6], dtype=torch.float64), 60_000
    weights, means, log_z = tilted(ratio)
    chosen = torch.multinomial(weights, n, replacement=True, generator=seeded(12))
    noise = torch.randn(n, 2, generator=seeded(13), dtype=torch.float64)
    positives = Latents(means[chosen] + SCALES[chosen, :2] * noise)
    made = on_mixture(kind, 1, 1, ratio=torch.zeros(2, dtype=torch.float64))
    made.begin_stage(2, StageContext(positives, positives[:100], SAMPLERS["mala"], Streams(0)))
    (objective,) = made.objectives()
    optimiser = torch.optim.LBFGS(objective.parameters, max_iter=40, tolerance_grad=1e-8)

    def closure():
        optimiser.zero_grad()
        loss = objective.loss(positives, Step(0, 1, seeded(14))).value
        loss.backward()
        return loss

    optimiser.step(closure)
    net = made.energies[0] if kind == "multistage" else made.net.net
    torch.testing.assert_close(net.weight.detach(), ratio, atol=0.1, rtol=0)
    assert abs(net.bias.item() + log_z) < 0.1


@pytest.mark.parametrize("start", ["persistent", "noise"])
def test_training_chains_of_maximum_likelihood_start_at_the_base(start):
    """Both modes are there in the base's shares: from N(0, I) no chain of a few steps would reach them."""
    chain = {"start": start, "steps": 1, "chains": 2_000, "step_size": 0.01, "refresh": 0.5}
    made = on_mixture("jointebm", 1, 1, ratio=torch.zeros(2, dtype=torch.float64), chain=chain)
    batch = Latents(points(2_000, 2))
    made.begin_stage(2, StageContext(batch, batch[:10], SAMPLERS["mala"], Streams(0)))
    moved = made._negatives.draw(2_000, made.density(), seeded(15))
    near_modes(moved.u, 2_000, WEIGHTS, MEANS[:, :2])
    if start == "persistent":
        near_modes(made._negatives._resampled(2_000, made.density(), seeded(16)), 2_000, WEIGHTS, MEANS[:, :2])


OWN = {"multistage": {"stages": 2, "pool_size": 20}, "jointebm": {"chain": {"chains": 20, "steps": 1}}}


@pytest.mark.parametrize("kind", KINDS)
def test_a_base_with_steps_is_trained_in_its_stage_and_fixed_afterwards(kind):
    options = {"base_prior": "flowmatching", "base_options": {"net": {"width": 8, "depth": 1}, "density_steps": 3}}
    plugin = installed().load("prior", kind)
    made = plugin(plugin.Config.model_validate(options | OWN.get(kind, {})), space(1, 1))
    batch = Latents(torch.randn(30, 2, generator=seeded(2)))
    context = StageContext(batch, batch[:10], Langevin(LangevinSettings(steps=1)), Streams(0))
    of_base = {id(parameter) for parameter in made.base_prior.parameters()}
    assert made.stages == (3 if kind == "multistage" else 2) and all(made.takes_steps(stage) for stage in (1, 2))
    for stage in (1, 2):
        made.train().requires_grad_(True)
        made.begin_stage(stage, context)
        for objective in made.objectives():
            assert {id(parameter) in of_base for parameter in objective.parameters} == {stage == 1}
            assert objective.loss(batch, Step(0, 1, seeded(0))).value.isfinite()
        assert made.base_prior.training == (stage == 1)
        assert all(parameter.requires_grad == (stage == 1) for parameter in made.base_prior.parameters())
        made.end_stage(stage, context)


def test_a_base_that_is_fitted_at_once_takes_no_steps_from_the_ratio():
    made = MultistagePrior(MultistageSettings(stages=3, base_prior="mixture"), space(2))
    trainer = TwoPhaseTrainer(TwoPhaseSettings(prior_steps=10))
    assert [trainer._steps(SimpleNamespace(prior=made), stage) for stage in range(1, 5)] == [0, 4, 3, 3]
    plain = MultistagePrior(MultistageSettings(stages=3), space(2))
    assert [trainer._steps(SimpleNamespace(prior=plain), stage) for stage in range(1, 4)] == [4, 3, 3]


def test_a_stage_that_finds_nothing_beyond_the_base_is_left_out():
    """Positives are draws of the base: the untrained ratio is at chance, and the prior stays the base."""
    made = on_mixture("multistage", 1, 1, pool_size=50)
    drawn = Latents(made.base_draw(400, Sampling(None, seeded(1))))
    context = StageContext(drawn, drawn[:100], SAMPLERS["mala"], Streams(0))
    made.begin_stage(2, context)
    made.end_stage(2, context)
    assert made.trained_stages == 1 and bool(made.stopped) and made.is_normalised()
    assert made.draw(5, Sampling(None, seeded(2))).chains == []


REFUSED = [
    (MultistageSettings, {"base_prior": "jointebm"}, "not normalised"),
    (MultistageSettings, {"base_prior": "multistage"}, "not normalised"),
    (MultistageSettings, {"base_prior": "mixtur"}, "unknown prior"),
    (MultistageSettings, {"base_prior": "mixture", "base_options": {"component": 3}}, "options of mixture are layers"),
    (MultistageSettings, {"base_options": {"components": 3}}, "the base gaussian has no options"),
]


@pytest.mark.parametrize(("settings", "options", "told"), REFUSED)
def test_bases_that_cannot_be_are_refused(settings, options, told):
    with pytest.raises(ValueError, match=told):
        settings.model_validate(options)


def test_bases_of_priors_that_have_another_are_refused():
    with pytest.raises(UsageError, match="conditional energies"):
        MultistagePrior(MultistageSettings(base_prior="mixture", energy={"coupling": "conditional"}), space(1, 1))
    with pytest.raises(UsageError, match="base_density"):
        on_mixture("jointebm", 1, 1, base_density="z")


def test_options_of_the_base_are_complete_and_lie_over_its_defaults():
    made = MultistageSettings(base_prior="mixture", base_options={"components": 3})
    assert made.base_options == MixtureSettings(components=3).model_dump(mode="json")
    of_flow = MultistageSettings(base_prior="flowmatching", base_options={"optimiser": {"lr": 0.5}}).base_options
    own = MultistageSettings(base_prior="flowmatching").base_options
    assert of_flow["optimiser"] == {**own["optimiser"], "lr": 0.5} and own["optimiser"]["lr"] != 0.5


def test_initial_ratios_do_not_depend_on_the_base():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = MultistagePrior(MultistageSettings(), space(2))
        torch.manual_seed(0)
        based = MultistagePrior(MultistageSettings(base_prior="flowmatching"), space(2))
    assert all(torch.equal(value, based.state_dict()[name]) for name, value in plain.state_dict().items())
