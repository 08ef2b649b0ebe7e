"""Telescoping ratios against Gaussians, of which every waymark and every bridge is known."""

import math

import pytest
import torch
from priorkit_mcmc import Mala, MalaSettings, Sir, SirSettings
from priorkit_tre import TrePrior, TreSettings
from priorkit_tre.sampling import steps_at
from priorkit_tre.waymarks import Waymarks
from seeding import seeded
from torch import nn
from torch.distributions import MultivariateNormal
from torch.nn.functional import softplus

from priorkit.core import Condition, Latents, LatentSpace, Layout, PerLayerSampler, Sampling, StageContext, Step, Streams
from priorkit.errors import UsageError

CHANCE = 2 * math.log(2)


def space(*sizes):
    return LatentSpace(Layout(tuple((size,) for size in sizes)), lambda u: u, lambda batch: None)


def known(dim):
    """Mean (D,) and covariance (D, D) of correlated data with variances from 0.2 to 1.5, float64."""
    random = seeded(dim)
    mean = 0.7 * torch.randn(dim, generator=random, dtype=torch.float64)
    basis = torch.linalg.qr(torch.randn(dim, dim, generator=random, dtype=torch.float64))[0]
    return mean, basis @ torch.diag(torch.linspace(0.2, 1.5, dim, dtype=torch.float64)) @ basis.T


class Exact(nn.Module):
    """The bridges' log ratios of data N(mean, covariance), times `factor` (K,) plus `shift` (K,): (B, D) -> (B, 1, K)."""

    def __init__(self, mean, covariance, waymarks, factor=1.0):
        super().__init__()
        identity = torch.eye(len(mean), dtype=torch.float64)
        pairs = zip(waymarks.signal.tolist(), waymarks.noise.tolist(), strict=True)
        self.densities = [MultivariateNormal(a * mean, a**2 * covariance + s**2 * identity) for a, s in pairs]
        self.factor = nn.Parameter(torch.full((waymarks.bridges,), factor, dtype=torch.float64))
        self.shift = nn.Parameter(torch.zeros(waymarks.bridges, dtype=torch.float64))

    def forward(self, x):
        values = torch.stack([density.log_prob(x) for density in self.densities], dim=1)
        return (self.factor * (values[:, :-1] - values[:, 1:]) + self.shift)[:, None]


def exact(*sizes, factor=1.0, **options):
    """A prior with the known ratios, float64; mean and covariance of its data."""
    mean, covariance = known(sum(sizes))
    prior = TrePrior(TreSettings(**{"bound": None} | options), space(*sizes)).double()
    prior.net = Exact(mean, covariance, prior.waymarks, factor)
    return prior, mean, covariance


def chain(steps):
    return Mala(MalaSettings(steps=steps))


def untrained(*sizes, **options):
    torch.manual_seed(0)
    return TrePrior(TreSettings(**{"energy": {"width": 8}} | options), space(*sizes)).eval()


@pytest.mark.parametrize("coupling", ["coupled", "separable"])
def test_untrained_it_is_the_gaussian(coupling):
    """The log ratio is 0 at every waymark, and draws have the moments of N(0, I), within 5 standard errors."""
    prior, u = untrained(1, 2, energy={"width": 8, "coupling": coupling}), torch.randn(5, 3, generator=seeded(0))
    assert all(torch.equal(prior.waymark_log_ratio(k, u), torch.zeros(5)) for k in range(6))
    assert torch.equal(prior.log_ratio(u), torch.zeros(5))
    drawn = prior.draw(20_000, Sampling(chain(12), seeded(1))).u
    assert (drawn.mean(0).abs() < 5 / 20_000**0.5).all()
    assert ((drawn.square().mean(0) - 1).abs() < 5 * (2 / 20_000) ** 0.5).all()


@pytest.mark.parametrize("dim", [1, 16, 64])
@pytest.mark.parametrize("spacing", ["angle", "noise"])
def test_known_bridges_add_up_to_the_known_ratio(dim, spacing):
    prior, mean, covariance = exact(dim, spacing=spacing, power=1.5)
    u = torch.randn(50, dim, generator=seeded(1), dtype=torch.float64)
    ratio = MultivariateNormal(mean, covariance).log_prob(u) - MultivariateNormal(
        torch.zeros_like(mean), torch.eye(dim, dtype=torch.float64)
    ).log_prob(u)
    torch.testing.assert_close(prior.log_ratio(u), ratio)


@pytest.mark.parametrize("k", [1, 3])
def test_an_intermediate_density_is_that_of_its_waymark(k):
    """Known bridges from k on give the log ratio of a_k u + s_k e; that of samples is judged by their moments elsewhere."""
    prior, mean, covariance = exact(16)
    a, s = math.cos(math.pi * k / 12), math.sin(math.pi * k / 12)
    u, identity = torch.randn(50, 16, generator=seeded(2), dtype=torch.float64), torch.eye(16, dtype=torch.float64)
    own = MultivariateNormal(a * mean, a**2 * covariance + s**2 * identity).log_prob(u)
    base = MultivariateNormal(torch.zeros_like(mean), identity).log_prob(u)
    torch.testing.assert_close(prior.waymark_log_ratio(k, u), own - base)


def close(u, mean, covariance):
    """Whether mean and second moments are those of the Gaussian, within 5 standard errors and 0.03 for finite chains."""
    n, second = len(u), covariance + mean[:, None] * mean
    assert ((u.mean(0) - mean).abs() < 5 * u.std(0) / n**0.5 + 0.03).all()
    products = u[:, :, None] * u[:, None]
    assert ((products.mean(0) - second).abs() < 5 * products.std(0) / n**0.5 + 0.03).all()


@pytest.mark.parametrize("dim", [1, 16, 64])
def test_draws_down_known_waymarks_have_the_moments_of_the_data(dim):
    prior, mean, covariance = exact(dim)
    sampler = prior.tuned(chain(120), generator=seeded(3))
    draw = prior.draw(1_000, Sampling(sampler, seeded(4)))
    assert len(draw.chains) == 6
    close(draw.u, mean, covariance)


def test_below_fixed_layers_draws_are_of_the_conditional():
    prior, mean, covariance = exact(2, 2)
    a = torch.tensor([0.4, -0.8], dtype=torch.float64)
    sampler = prior.tuned(chain(60), generator=seeded(5))
    u = prior.draw(5_000, Sampling(sampler, seeded(6), condition=Condition(top=a.expand(5_000, 2)))).u
    assert torch.equal(u[:, :2], a.expand(5_000, 2))
    gain = covariance[2:, :2] @ torch.linalg.inv(covariance[:2, :2])
    close(u[:, 2:], mean[2:] + gain @ (a - mean[:2]), covariance[2:, 2:] - gain @ covariance[:2, 2:])


def test_fixed_layers_are_mixed_with_noise_like_the_waymarks():
    prior = untrained(1, 2)
    top, noise = torch.full((4, 1), 2.0), torch.randn(4, 3, generator=seeded(7))
    for k in range(6):
        angle = math.pi * k / 12
        asked = prior._asked(k, noise, Condition(top=top))
        torch.testing.assert_close(asked.top, math.cos(angle) * top + math.sin(angle) * noise[:, :1])


def gradients(prior, mean, covariance, batches=40):
    """Gradients of the loss to factor and shift, (batches, 2 K), of independent batches of 500."""
    law, found = MultivariateNormal(mean, covariance), []
    root = law.scale_tril
    for i in range(batches):
        random = seeded(100 + i)
        u = mean + torch.randn(500, len(mean), generator=random, dtype=torch.float64) @ root.T
        loss = prior._loss(Latents(u), Step(0, 1, random)).value
        found.append(torch.cat(torch.autograd.grad(loss, [prior.net.factor, prior.net.shift])))
    return torch.stack(found)


def scores(found):
    """The means in standard errors."""
    return found.mean(0) / (found.std(0) / len(found) ** 0.5)


@pytest.mark.parametrize("dim", [1, 16, 64])
def test_the_known_ratios_are_where_the_loss_has_no_slope(dim):
    """Of 12 means none is above 5 standard errors; at ratios 1.5 times as large every factor's slope is above 10."""
    right, mean, covariance = exact(dim)
    assert (scores(gradients(right, mean, covariance)).abs() < 5).all()
    wrong, _, _ = exact(dim, factor=1.5)
    assert (scores(gradients(wrong, mean, covariance))[:6] > 10).all()


@pytest.mark.parametrize(("spacing", "power"), [("angle", 1.0), ("noise", 1.0), ("angle", 2.0)])
def test_waymarks_preserve_the_variance(spacing, power):
    """Uniform data of variance 1, within 5 standard errors; the ends are the data and the noise exactly."""
    marks, n = Waymarks.of(5, spacing, power), 100_000
    torch.testing.assert_close(marks.signal.square() + marks.noise.square(), torch.ones(6, dtype=torch.float64))
    assert (marks.noise.diff() > 0).all()
    u = (torch.rand(n, 1, generator=seeded(8)) - 0.5) * 12**0.5
    noise = torch.randn(n, 1, generator=seeded(9))
    points = marks.every(u, noise)
    assert torch.equal(points[0], u) and torch.equal(points[5], noise)
    assert ((points.square().mean(1) - 1).abs() < 5 * points.square().std(1) / n**0.5).all()
    torch.testing.assert_close(marks.at(2, u, noise), points[2])


def test_equal_angles():
    found = Waymarks.of(3).signal
    torch.testing.assert_close(found, torch.tensor([1, 3**0.5 / 2, 0.5, 0], dtype=torch.float64))


@pytest.mark.parametrize(("options", "classifiers"), [({}, 1), ({"energy": {"width": 8, "coupling": "separable"}}, 2)])
def test_an_untrained_bridge_has_the_loss_of_chance(options, classifiers):
    prior = untrained(1, 2, **options)
    loss = prior._loss(Latents(torch.randn(10, 3, generator=seeded(1))), Step(0, 1, seeded(2)))
    torch.testing.assert_close(loss.metrics["bridge"], torch.full((6,), CHANCE * classifiers))
    assert (
        float(loss.value.detach()) == pytest.approx(6 * CHANCE * classifiers) == pytest.approx(float(loss.metrics["chance"]))
    )


def test_each_bridge_tells_its_own_two_waymarks_apart():
    """The loss of known, wrong logits against a loop over bridges."""
    prior, mean, _ = exact(3, factor=0.7, waymarks=3)
    u = mean + torch.randn(20, 3, generator=seeded(1), dtype=torch.float64)
    found = prior._loss(Latents(u), Step(0, 1, seeded(2))).metrics["bridge"]
    noise = torch.randn(20, 3, generator=seeded(2), dtype=torch.float64)
    for k in range(3):
        points = [math.cos(math.pi * j / 6) * u + math.sin(math.pi * j / 6) * noise for j in (k, k + 1)]
        positive, negative = (prior.net(x)[:, 0, k] for x in points)
        loss = (softplus(-positive).mean() + softplus(negative).mean()).detach()
        assert float(loss) == pytest.approx(float(found[k]))


def test_a_joint_logit_is_one_classifier_of_the_sum_of_layers():
    separable = {"width": 8, "coupling": "separable"}
    joint, apart = (untrained(1, 2, energy=separable, logit=logit) for logit in ("joint", "layer"))
    for prior in (joint, apart):
        nn.init.normal_(prior.net.nets[0][-1][-1].weight, generator=seeded(1))
    batch, noise = Latents(torch.randn(10, 3, generator=seeded(2))), 3
    assert joint._pairs(batch.u, seeded(noise))[0].shape == (10, 1, 6)
    positive = apart._pairs(batch.u, seeded(noise))[0]
    assert positive.shape == (10, 2, 6)
    torch.testing.assert_close(joint._pairs(batch.u, seeded(noise))[0][:, 0], positive.sum(1))


@pytest.mark.parametrize("logit", ["joint", "layer"])
def test_terms_of_layers_add_up_and_each_reads_its_layer(logit):
    prior = untrained(1, 2, energy={"width": 8, "coupling": "separable"}, logit=logit)
    for i, net in enumerate(prior.net.nets):
        nn.init.normal_(net[-1][-1].weight, generator=seeded(i))
    u = torch.randn(6, 3, generator=seeded(2))
    terms, other = prior.layer_log_ratio(u), prior.layer_log_ratio(torch.cat([u[:, :1], u[:, 1:].flip(0)], 1))
    torch.testing.assert_close(terms.sum(1), prior.log_ratio(u))
    torch.testing.assert_close(other, torch.stack([terms[:, 0], terms[:, 1].flip(0)], 1))
    assert torch.equal(prior.layer_log_ratio(u, stages=0), torch.zeros(6, 2)) and untrained(3).layer_log_ratio(u) is None


def test_the_bound_holds_for_each_bridge():
    prior = untrained(2, bound=1.5)
    nn.init.normal_(prior.net.net.head[-1].weight, std=1e4, generator=seeded(2))
    with torch.no_grad():
        logits = prior.logits(torch.randn(10, 2, generator=seeded(1)))
    assert float(logits.abs().max()) == pytest.approx(1.5)


def test_steps_are_spread_over_the_waymarks_and_most_are_at_the_data():
    assert steps_at(chain(20), 6) == {5: 3, 4: 3, 3: 3, 2: 3, 1: 4, 0: 4}
    assert steps_at(chain(2), 4) == {1: 1, 0: 1}
    assert steps_at(Sir(SirSettings()), 4) == {0: None}


def test_each_waymark_has_a_step_size_of_its_own():
    """Data of deviation 0.1: from the noise down to them the steps only shrink, by about the ratio of the variances, and
    every waymark's acceptance is that which the sampler aims at."""
    prior = TrePrior(TreSettings(bound=None), space(4)).double()
    prior.net = Exact(torch.zeros(4).double(), 0.01 * torch.eye(4).double(), prior.waymarks)
    sampler = prior.tuned(chain(60), generator=seeded(1))
    assert isinstance(sampler, PerLayerSampler)
    sizes = [sampler.for_layer(k).settings.step_size for k in range(6)]
    assert sizes == sorted(sizes) and 30 < sizes[-1] / sizes[0] < 200
    acceptance = [
        float(one.diagnostics["acceptance"].mean()) for one in prior.draw(500, Sampling(sampler, seeded(2))).chains
    ]
    assert all(abs(value - 0.574) < 0.15 for value in acceptance)


def test_a_sampler_with_nothing_to_tune_stays():
    sampler = Sir(SirSettings(proposals=50))
    prior, mean, _ = exact(1)
    assert prior.tuned(sampler) is sampler
    u = prior.draw(4_000, Sampling(sampler, seeded(1))).u
    assert abs(float(u.mean() - mean)) < 0.1


def bench(u):
    return StageContext(Latents(u), Latents(u), chain(6), Streams(0))


def test_held_out_figures_are_those_of_the_bridges():
    """At the known ratios the AUC of a bridge in one dimension is that of a loop, and the losses sum to the whole."""
    prior, mean, covariance = exact(1)
    u = mean + torch.randn(3_000, 1, generator=seeded(1), dtype=torch.float64) * covariance.sqrt()
    found = prior.end_stage(1, bench(u))
    losses = [found[f"heldout_loss_bridge_{k}"] for k in range(6)]
    assert found["heldout_loss"] == pytest.approx(sum(losses)) and sum(losses) < 6 * CHANCE
    positive, negative = prior._judged(bench(u), "tre.heldout")
    below = (positive[:, None, 0, 2] > negative[None, :, 0, 2]).double().mean()
    assert found["heldout_auc_bridge_2"] == pytest.approx(float(below), abs=1e-9)
    assert all(0.5 < found[f"heldout_auc_bridge_{k}"] < 1 for k in range(6))
    assert prior.end_stage(1, bench(u[:0])) == {}


def test_the_held_out_loss_is_least_at_the_known_ratios_and_the_same_again():
    losses = []
    for factor in (0.7, 1.0, 1.3):
        prior, mean, covariance = exact(4, factor=factor)
        law = MultivariateNormal(mean, covariance)
        u = mean + torch.randn(4_000, 4, generator=seeded(1), dtype=torch.float64) @ law.scale_tril.T
        losses.append(prior.heldout_loss(bench(u)))
        assert prior.heldout_loss(bench(u)) == losses[-1]
    assert losses[1] == min(losses)
    assert prior.heldout_loss(bench(u[:0])) is None


def learnt_error(waymarks):
    """Root mean square error of a short training's log ratio under N(1.5, 0.25), to +- 2 deviations, in nats."""
    mean, deviation, steps = 1.5, 0.5, 400
    torch.manual_seed(0)
    energy = {"width": 32, "network": "mlp"}
    prior = TrePrior(TreSettings(waymarks=waymarks, bound=None, energy=energy), space(1))
    (objective,), random = prior.objectives(), seeded(5)
    rates = objective.optimiser.model_copy(update={"lr": 3e-3})
    adam = torch.optim.Adam(objective.parameters, lr=3e-3)
    for i in range(steps):
        adam.param_groups[0]["lr"] = rates.rate(i, steps)
        adam.zero_grad()
        u = mean + deviation * torch.randn(256, 1, generator=random)
        objective.loss(Latents(u), Step(i, steps, random)).value.backward()
        adam.step()
    x = torch.linspace(-2, 2, 81)
    point = mean + deviation * x
    truth = -0.5 * x.square() + 0.5 * point.square() - math.log(deviation)
    with torch.no_grad():
        squares = (prior.log_ratio(point[:, None]) - truth).square()
    return float((squares * (-0.5 * x.square()).softmax(0)).sum().sqrt())


def test_a_short_training_finds_a_ratio_that_one_bridge_misses():
    """Within 0.1 nat of a log ratio from -1.2 to 2.2 nats; one bridge, the same network and steps, is further off."""
    telescoped = learnt_error(4)
    assert telescoped < 0.1 and telescoped < learnt_error(1)


def test_labels_are_of_the_data_and_their_term_is_of_the_first_bridge():
    labels = [{"classes": 2, "energy": {"width": 4}}]
    prior, u = untrained(1, 2, labels=labels), torch.randn(6, 3, generator=seeded(1))
    nn.init.normal_(prior.labels.nets[0].head[-1].weight, generator=seeded(2))
    torch.testing.assert_close(prior.log_ratio(u), 10 * torch.tanh(prior.labels.evidence(u) / 10))
    assert torch.equal(prior.waymark_log_ratio(1, u), torch.zeros(6))
    loss = prior._loss(Latents(u, labels=torch.tensor([0, 1] * 3)), Step(0, 1, seeded(3)))
    assert float(loss.value.detach()) == pytest.approx(
        float(loss.metrics["bridge"].sum() + loss.metrics["label_loss"]), rel=1e-6
    )
    assert prior.heldout_loss(bench(u)) is None
    with pytest.raises(UsageError, match="no-such"):
        prior.draw(2, Sampling(chain(2), condition=Condition(labels={"no-such": torch.zeros(2, dtype=torch.int64)})))


def test_a_logit_per_layer_needs_a_network_per_layer():
    with pytest.raises(UsageError, match="coupling=separable"):
        untrained(1, 2, logit="layer")
    with pytest.raises(UsageError, match="multistage"):
        untrained(1, 2, energy={"coupling": "conditional"})
