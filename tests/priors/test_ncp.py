"""The layer-wise noise-contrastive prior against closed forms on a linear-Gaussian hierarchy."""

import math

import pytest
import torch
from priorkit_mcmc import Mala, MalaSettings
from priorkit_ncp import NcpPrior, NcpSettings
from seeding import seeded
from test_ncp_hierarchy import LAYOUT, aggregated_posterior, latents, log_joint, space, true_classifiers, zero
from torch import nn
from torch.nn.functional import logsigmoid

from priorkit.core import Condition, Latents, LatentSpace, Sampling, StageContext, Step, Streams
from priorkit.errors import UsageError

DIM = LAYOUT.dim
GAUSS = torch.distributions.Normal(0.0, 1.0)


def prior(classifiers=None, **options):
    made = NcpPrior(NcpSettings(energy={"width": 8}, **options), space()).double().eval()
    if classifiers is not None:
        made.energy.nets = classifiers
    return made


def random_prior(**options):
    """Classifiers with random weights, so that nothing is 0 by accident."""
    torch.manual_seed(0)
    made = prior(**options)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made


def points(n, seed):
    joint = aggregated_posterior()
    noise = torch.randn(n, DIM, generator=seeded(seed), dtype=torch.float64)
    return joint.mean + noise @ torch.linalg.cholesky(joint.covariance_matrix).T


def stage(heldout):
    return StageContext(Latents(heldout), Latents(heldout), Mala(MalaSettings()), Streams(0))


def sampler(steps=60):
    return Mala(MalaSettings(steps=steps, step_size=0.8, choose="fixed"))


def assert_moments(u, mean, covariance):
    """Within 5 standard errors; of independent draws of a Gaussian."""
    n, variance = len(u), covariance.diagonal()
    assert ((u.mean(0) - mean).abs() < 5 * (variance / n).sqrt()).all()
    error = (variance[:, None] * variance + covariance.square()).div(n).sqrt()
    assert ((u.T.cov() - covariance).abs() < 5 * error).all()


def test_the_optimum_is_the_ratio_of_conditionals():
    """Quadratic logits hold the truth, and the loss is convex in them.  Its minimum over n = 100,000 points lies within 5
    standard errors of the truth where data lie: the error of a log ratio with 10 coefficients is about
    (10 / (0.1 n))^1/2 = 0.032 in the mean, more in the tails."""
    joint, n = aggregated_posterior(), 100_000
    made = prior(nn.ModuleList([zero(1), zero(3)]))
    objective = made.objectives()[0]
    optimiser = torch.optim.LBFGS(objective.parameters, max_iter=60, tolerance_grad=1e-8, line_search_fn="strong_wolfe")
    positives = Latents(points(n, 1))

    def closure():
        optimiser.zero_grad()
        loss = objective.loss(positives, Step(0, 1, seeded(2))).value
        loss.backward()
        return loss

    optimiser.step(closure)
    u = points(200, 3)
    with torch.no_grad():
        learnt, truth = made.layer_log_ratio(u), prior(true_classifiers(joint)).layer_log_ratio(u)
    assert (learnt - truth).abs().mean(0).max() < 0.05
    assert (learnt - truth).abs().max() < 0.3


def test_true_ratios_add_up_to_the_joint_ratio():
    joint = aggregated_posterior()
    made, u = prior(true_classifiers(joint)), points(20, 4)
    expected = joint.log_prob(u) - GAUSS.log_prob(u).sum(1)
    torch.testing.assert_close(made.log_ratio(u), expected)
    torch.testing.assert_close(made.log_prob(u) - DIM / 2 * math.log(2 * math.pi), joint.log_prob(u))
    assert torch.equal(made.log_ratio(u, stages=0), torch.zeros(20, dtype=torch.float64))


def test_no_other_ratio_has_a_lower_loss():
    """The same points and noise: each of ten disturbed ratios loses, by its excess risk, to the true one."""
    made = prior(true_classifiers(aggregated_posterior()))
    batch, truth = Latents(points(100_000, 5)), [parameter.detach().clone() for parameter in made.parameters()]
    loss = made.objectives()[0].loss
    with torch.no_grad():
        least, generator = loss(batch, Step(0, 1, seeded(6))).value, seeded(7)
        for _ in range(10):
            for parameter, value in zip(made.parameters(), truth, strict=True):
                noise = torch.randn(value.shape, generator=generator, dtype=value.dtype)
                parameter.copy_(value + 0.2 * (noise + noise.T if noise.ndim == 2 else noise))
            assert loss(batch, Step(0, 1, seeded(6))).value > least


@pytest.mark.parametrize("sampling", ["sir", "langevin"])
def test_draws_follow_the_aggregated_posterior(sampling):
    """Both ways of drawing give the moments of q: the chain of conditionals is q itself.  600 proposals leave a bias of
    order 1 / ESS < 0.004 beside 5 standard errors of 0.08."""
    joint = aggregated_posterior()
    made = prior(true_classifiers(joint), sampling=sampling, proposals=600)
    u = made.draw(4_000, Sampling(sampler(), seeded(8))).u
    assert_moments(u, joint.mean, joint.covariance_matrix)


def test_without_context_layers_are_drawn_independently():
    joint = aggregated_posterior()
    made = prior(context="none")
    upper, lower = true_classifiers(joint)
    matrix, vector, _ = log_joint(joint, 3)
    lower.matrix, lower.vector = nn.Parameter(matrix[1:, 1:] + torch.eye(2) / 2), nn.Parameter(vector[1:])
    made.energy.nets = nn.ModuleList([upper, lower])
    u = made.draw(4_000, Sampling(sampler(), seeded(9))).u
    assert (u.T.corrcoef()[0, 1:].abs() < 5 / math.sqrt(4_000)).all()


@pytest.mark.parametrize("sampling", ["sir", "langevin"])
def test_fixed_upper_layers_stay_and_the_rest_is_their_conditional(sampling):
    joint, n = aggregated_posterior(), 4_000
    covariance = joint.covariance_matrix
    made = prior(true_classifiers(joint), sampling=sampling, proposals=600)
    top = torch.full((n, 1), 1.5, dtype=torch.float64)
    u = made.draw(n, Sampling(sampler(), seeded(10), condition=Condition(top=top))).u
    assert torch.equal(u[:, :1], top)
    gain = covariance[1:, :1] / covariance[0, 0]
    assert_moments(
        u[:, 1:], joint.mean[1:] + gain[:, 0] * (1.5 - joint.mean[0]), covariance[1:, 1:] - gain @ covariance[:1, 1:]
    )


def test_all_layers_fixed_leave_nothing_to_draw():
    top = torch.randn(5, DIM, generator=seeded(11), dtype=torch.float64)
    drawn = prior().draw(5, Sampling(sampler(), seeded(), condition=Condition(top=top)))
    assert torch.equal(drawn.u, top) and drawn.chains == []


def test_conditions_that_cannot_be_met_are_refused():
    with pytest.raises(UsageError, match="labels"):
        prior().draw(2, Sampling(sampler(), condition=Condition(labels={"label": torch.zeros(2, dtype=torch.int64)})))
    with pytest.raises(UsageError, match="whole layers"):
        prior().draw(2, Sampling(sampler(), condition=Condition(top=torch.zeros(2, 2))))


@pytest.mark.parametrize("energy_input", ["u", "z"])
@pytest.mark.parametrize("context", ["none", "decoder", "upper"])
def test_a_classifier_reads_its_layer_and_is_told_of_those_above(energy_input, context):
    """Against the networks called by hand on T(u), and on the walk's own features."""
    made = random_prior(energy_input=energy_input, context=context)
    u = points(6, 12)
    x = latents(u) if energy_input == "z" else u
    told = {"none": None, "decoder": 3 * u[:, :1], "upper": x[:, :1]}[context]
    by_hand = [made.classifiers[0](x[:, None, :1], None), made.classifiers[1](x[:, None, 1:], told)]
    torch.testing.assert_close(made.layer_log_ratio(u), torch.cat(by_hand, dim=1))


def test_negatives_stand_under_the_positives_upper_layers():
    made, seen = random_prior(), []
    net = made.classifiers[1]
    net.given = lambda context: context
    net.logits = lambda x, given: seen.append((x, given)) or x.sum(2)
    u = points(8, 13)
    made.objectives()[0].loss(Latents(u), Step(0, 1, seeded(14)))
    ((x, context),) = seen
    assert torch.equal(context, u[:, :1]) and torch.equal(x[:, 0], u[:, 1:])
    noise = torch.randn(8, DIM, generator=seeded(14), dtype=torch.float64)
    assert torch.equal(x[:, 1], noise[:, 1:])


@pytest.mark.parametrize("context", ["decoder", "upper"])
def test_the_gradient_of_the_log_ratio_knows_of_contexts(context):
    """Central differences; their error is of order 1e-10 here."""
    made, u, h = random_prior(context=context, energy_input="z"), points(3, 15), 1e-5
    u.requires_grad_()
    (gradient,) = torch.autograd.grad(made.log_ratio(u).sum(), u)
    with torch.no_grad():
        for column in range(DIM):
            step = torch.zeros(DIM, dtype=torch.float64)
            step[column] = h
            slope = (made.log_ratio(u + step) - made.log_ratio(u - step)) / (2 * h)
            torch.testing.assert_close(gradient[:, column], slope, atol=1e-7, rtol=1e-5)


def test_a_bound_limits_each_layer():
    made, free = prior(bound=2.0), prior()
    for which in (made, free):
        which.energy.nets = nn.ModuleList([zero(1), zero(3)])
        for classifier in which.classifiers:
            nn.init.constant_(classifier.vector, 50.0)
    u = points(50, 16)
    assert made.layer_log_ratio(u).abs().max() <= 2.0 < free.layer_log_ratio(u).abs().max()


def test_an_untrained_prior_is_the_gaussian_one():
    made, u = prior(proposals=40), points(500, 17)
    loss = made.objectives()[0].loss(Latents(u), Step(0, 1, seeded()))
    assert loss.value.item() == pytest.approx(2 * 2 * math.log(2), abs=1e-9)
    figures = made.end_stage(1, stage(u))
    assert figures["heldout_auc_layer_0"] == figures["heldout_auc_layer_1"] == 0.5
    drawn = made.draw(4_000, Sampling(sampler(), seeded(18)))
    assert_moments(drawn.u, torch.zeros(DIM).double(), torch.eye(DIM).double())
    # Equal weights: every proposal counts.
    assert [chain.diagnostics["effective_sample_size"].item() for chain in drawn.chains] == pytest.approx([40, 40])


def test_heldout_figures_are_those_of_the_definitions():
    made, u = random_prior(), points(300, 19)
    figures = made.end_stage(1, stage(u))
    noise = torch.randn(300, DIM, generator=Streams(0).generator("ncp.heldout"), dtype=torch.float64)
    with torch.no_grad():
        positive = made.layer_log_ratio(u)
        negative = made.conditional_logits(u, noise[:, None])[:, 0]
    better = (positive[:, None] > negative[None]).double().mean((0, 1))
    loss = -(logsigmoid(positive).mean(0) + logsigmoid(-negative).mean(0))
    for i in range(2):
        assert figures[f"heldout_auc_layer_{i}"] == pytest.approx(better[i].item(), abs=1e-9)
        assert figures[f"heldout_loss_layer_{i}"] == pytest.approx(loss[i].item(), abs=1e-9)
    assert figures["heldout_loss"] == pytest.approx(loss.sum().item(), abs=1e-9)


@pytest.mark.parametrize("sampling", ["sir", "langevin"])
def test_chains_have_whole_states_and_say_what_they_cost(sampling):
    made = prior(true_classifiers(aggregated_posterior()), sampling=sampling, proposals=9)
    drawn = made.draw(3, Sampling(sampler(4), seeded(20), keep_every=1))
    states = [chain.trajectory for chain in drawn.chains]
    assert [chain.calls for chain in drawn.chains] == ([9, 9] if sampling == "sir" else [5, 5])
    assert torch.equal(states[0][-1], states[1][0]) and torch.equal(states[1][-1], drawn.u)
    assert torch.equal(states[0][0][:, 1:], states[0][-1][:, 1:]), "the layers below wait"
    assert (states[1][:, :, :1] == drawn.u[:, :1]).all(), "the layers above stay"


def test_layers_without_a_classifier_keep_the_base():
    made = prior(true_classifiers(aggregated_posterior()), layers="top:1", sampling="sir")
    u = points(20, 22)
    ratios = made.layer_log_ratio(u)
    assert (ratios[:, 1] == 0).all() and (ratios[:, 0] != 0).all()
    drawn = made.draw(4_000, Sampling(sampler(), seeded(23))).u
    assert_moments(drawn[:, 1:], torch.zeros(2).double(), torch.eye(2).double())


def test_large_layers_are_sampled_by_chains(monkeypatch):
    """`auto` resamples the layer of one latent, and with a limit of one latent runs a chain of 4 steps in the other."""
    monkeypatch.setattr("priorkit_ncp.prior.RESAMPLED_UP_TO", 1)
    made = prior(true_classifiers(aggregated_posterior()), proposals=9)
    drawn = made.draw(3, Sampling(sampler(4), seeded(24)))
    assert [chain.calls for chain in drawn.chains] == [9, 5]


def test_a_gradient_chain_runs_under_inference_mode():
    made = random_prior(context="decoder", energy_input="z", sampling="langevin")
    with torch.inference_mode():
        drawn = made.draw(3, Sampling(sampler(2), seeded(21)))
    assert drawn.u.isfinite().all()


def test_a_backbone_without_features_says_what_to_choose():
    class Silent:
        def __init__(self, batch):
            self.walk = space().top_down(batch)

        def __getattr__(self, name):
            return getattr(self.walk, name)

        def context(self):
            from dataclasses import replace

            return replace(self.walk.context(), features=None)

    with pytest.raises(UsageError, match=r"prior\.context=upper"):
        NcpPrior(NcpSettings(context="decoder"), LatentSpace(LAYOUT, latents, Silent))


def test_only_layers_that_are_sampled_by_chains_need_a_step_size():
    mala = Mala(MalaSettings(steps=3, pilot_steps=3))
    assert prior(sampling="sir").tuned(mala, generator=seeded(0)) is mala
    tuned = prior(true_classifiers(aggregated_posterior()), sampling="langevin").tuned(mala, generator=seeded(0))
    assert tuned is not mala and tuned.for_layer(0) is not mala


def test_the_log_has_the_mean_logits_of_positives_and_negatives():
    """The classifiers are linear in u_i here, so that positives have the mean of their points and negatives 0."""
    first, second = zero(1), zero(3)
    first.vector.data.fill_(1.0)
    made = prior(nn.ModuleList([first, second]))
    u = points(50_000, 25) + 2.0
    metrics = made.objectives()[0].loss(Latents(u), Step(0, 1, seeded(26))).metrics
    assert metrics["positive"].item() == pytest.approx(float(u[:, 0].mean()), abs=1e-9)
    assert abs(metrics["negative"].item()) < 5 / 50_000**0.5


def test_a_step_draws_no_negatives_of_layers_without_a_classifier(monkeypatch):
    made, seen = prior(true_classifiers(aggregated_posterior()), layers="top:1"), []
    drawn = made.draw_layer
    monkeypatch.setattr(made, "draw_layer", lambda layer, *given: seen.append(layer) or drawn(layer, *given))
    batch = Latents(points(20, 27))
    negatives = made._negatives(batch, seeded(28))
    assert seen == [0]
    assert torch.equal(negatives[:, 1:], batch.u[:, 1:]) and not torch.equal(negatives[:, :1], batch.u[:, :1])
    with torch.no_grad():
        loss = made.objectives()[0].loss(batch, Step(0, 1, seeded(29))).metrics["layer"]
    assert loss[1].item() == pytest.approx(2 * math.log(2))
