"""VampPrior and exemplar prior against torch's densities, quadrature and a linear-Gaussian posterior."""

import math

import pytest
import torch
from priorkit_vampprior import VampPrior, VampPriorSettings
from priorkit_vampprior.exemplars import FACTORS, best_factor
from priorkit_vampprior.mixture import Components
from seeding import seeded
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal, kl_divergence

from priorkit.core import Condition, Latents, LatentSpace, Layout, Sampling, StageContext, Step, Streams
from priorkit.errors import UsageError

K = 5


def space(*sizes):
    return LatentSpace(Layout(tuple((size,) for size in sizes)), lambda u: u, lambda batch: None)


def built(*sizes, number=K, **options):
    return VampPrior(VampPriorSettings(number=number, **options), space(*sizes))


def known(*sizes):
    """The prior with known components, float64, and torch's distribution of each layer."""
    prior, truth = built(*sizes).double(), []
    for i, mixture in prior._mixtures():
        random = seeded(i)
        means = torch.randn(K, sizes[i], generator=random, dtype=torch.float64)
        log_scales = 0.4 * torch.randn(K, sizes[i], generator=random, dtype=torch.float64) - 0.7
        mixture.set(means, log_scales)
        parts = Independent(Normal(means, log_scales.exp()), 1)
        truth.append(MixtureSameFamily(Categorical(torch.ones(K, dtype=torch.float64)), parts))
    prior.used.fill_(True)
    return prior, truth


def test_the_density_is_torch_s_in_16_dimensions():
    prior, truth = known(4, 12)
    u = torch.randn(100, 16, generator=seeded(1), dtype=torch.float64)
    standard = Normal(0.0, 1.0).log_prob(u)
    terms = [law.log_prob(part) for law, part in zip(truth, u.split([4, 12], 1), strict=True)]
    expected = torch.stack(terms, 1) - torch.stack([standard[:, :4].sum(1), standard[:, 4:].sum(1)], 1)
    torch.testing.assert_close(prior.layer_log_ratio(u), expected)
    torch.testing.assert_close(prior.log_ratio(u), expected.sum(1))


def test_narrow_posteriors_lose_no_digits():
    """In single precision, with scales of 1e-4 around distant points: torch's density of the same numbers in double."""
    mixture = built(32).mixtures["0"]
    means = torch.randn(K, 32, generator=seeded(2))
    log_scales = torch.full((K, 32), 1e-4).log()
    mixture.set(means, log_scales)
    u = means + 1e-4 * torch.randn(K, 32, generator=seeded(3))
    law = Independent(Normal(means.double(), log_scales.double().exp()), 1)
    expected = law.log_prob(u.double()) - math.log(K) - Normal(0.0, 1.0).log_prob(u.double()).sum(1)
    torch.testing.assert_close(mixture.log_ratio(u).double(), expected, rtol=1e-6, atol=1e-4)


def test_it_integrates_to_one_in_two_dimensions():
    prior, _ = known(2)
    axis = torch.linspace(-12, 12, 601, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    total = (prior.log_prob(grid).detach() - math.log(2 * math.pi)).exp().sum() * (axis[1] - axis[0]) ** 2
    assert abs(float(total) - 1) < 1e-6


def test_draws_have_its_moments():
    """Over n draws an entry of the mean is off by at most 5 sqrt(v / n), one of the second moments by 5 sqrt(m4 / n)."""
    prior, truth = known(2, 2)
    n = 40_000
    u = prior.draw(n, Sampling(None, seeded(4))).u
    mean = torch.cat([law.mean for law in truth])
    variance = torch.cat([law.variance for law in truth])
    assert ((u.mean(0) - mean).abs() < 5 * u.std(0) / n**0.5).all()
    squares = (u - mean).square()
    assert ((squares.mean(0) - variance).abs() < 5 * squares.std(0) / n**0.5).all()
    across = (u[:, :2] - mean[:2]) * (u[:, 2:] - mean[2:])
    assert (across.mean(0).abs() < 5 * across.std(0) / n**0.5).all()


def test_fixed_layers_stay_and_the_others_are_drawn():
    prior, truth = known(2, 2)
    top = torch.tensor([0.3, -2.0], dtype=torch.float64)
    u = prior.draw(20_000, Sampling(None, seeded(5), condition=Condition(top=top.expand(20_000, 2)))).u
    assert torch.equal(u[:, :2], top.expand(20_000, 2))
    assert ((u[:, 2:].mean(0) - truth[1].mean).abs() < 5 * u[:, 2:].std(0) / 20_000**0.5).all()


def test_a_layer_left_out_is_the_gaussian_in_density_and_draws():
    prior, _ = known(2, 2)
    prior.used[1] = False
    u = torch.randn(7, 4, generator=seeded(6), dtype=torch.float64)
    assert torch.equal(prior.layer_log_ratio(u)[:, 1], torch.zeros(7, dtype=torch.float64))
    lower = prior.draw(20_000, Sampling(None, seeded(7))).u[:, 2:]
    assert (lower.mean(0).abs() < 5 / 20_000**0.5).all() and ((lower.square().mean(0) - 1).abs() < 0.05).all()


SCALE = torch.tensor([0.6, 0.8])
ROOT = torch.tensor([[0.9, 0.0], [-0.5, 0.6]])
AGGREGATED = MultivariateNormal(torch.zeros(2), ROOT @ ROOT.T + SCALE.square().diag())


def linear(n, seed, *, twice=False):
    """Posterior samples of linear-Gaussian data, q(u | x) = N(x, S), x ~ N(0, C): q(u) = N(0, C + S)."""
    random = seeded(seed)
    mean = torch.randn(n, 2, generator=random) @ ROOT.T
    if twice:
        mean = mean.repeat(2, 1)
    scale = SCALE.expand(len(mean), 2)
    return Latents(mean + scale * torch.randn(len(mean), 2, generator=random), mean=mean, scale=scale)


def begun(points, heldout, *sizes, **options):
    prior = built(*(sizes or (points.u.shape[1],)), **options)
    context = StageContext(points, heldout, None, Streams(0))
    prior.begin_stage(1, context)
    return prior, context


def trained(points, heldout, steps, **options):
    """By Adam, at the end of its stage."""
    prior, context = begun(points, heldout, **options)
    (objective,) = prior.objectives()
    optimiser, random = torch.optim.Adam(objective.parameters, 1e-2), seeded(8)
    for index in range(steps):
        batch = points[torch.randint(len(points), (256,), generator=random)]
        optimiser.zero_grad()
        objective.loss(batch, Step(index, steps, random)).value.backward()
        optimiser.step()
    return prior, prior.end_stage(1, context)


def divergence(prior):
    """KL(q || p) in nats, by quadrature."""
    axis = torch.linspace(-7, 7, 101)
    grid = torch.cartesian_prod(axis, axis)
    log_q = AGGREGATED.log_prob(grid)
    log_p = prior.log_prob(grid).detach() - math.log(2 * math.pi)
    return float((log_q.exp() * (log_q - log_p)).sum() * (axis[1] - axis[0]) ** 2)


def test_exemplars_of_linear_gaussian_data_are_their_aggregated_posterior():
    """A mixture of K terms of a mean of densities is off by about E[var q(u | x) / q(u)^2] / (2 K): some 5e-3 here."""
    prior, context = begun(linear(600, 9), linear(1_000, 10), components="exemplar", number=600)
    assert prior.objectives() == []
    assert divergence(prior) < 0.015
    assert 0.8 < float(prior.factors[0]) < 1.3
    gain = prior.end_stage(1, context)["heldout_gain"]
    standard = MultivariateNormal(torch.zeros(2), torch.eye(2))
    assert abs(gain - float(kl_divergence(AGGREGATED, standard))) < 0.1


def test_without_held_out_points_an_image_s_own_posterior_is_left_out():
    """With it, the best factor on few narrow posteriors would be far below 1; images have several samples."""
    points = linear(400, 11, twice=True)
    prior, _ = begun(points, linear(0, 12), components="exemplar", number=400)
    assert 0.7 < float(prior.factors[0]) < 1.5
    narrow = Latents(points.u, mean=points.mean, scale=points.scale / 50)
    narrow = Latents(narrow.redrawn(seeded(13)), mean=narrow.mean, scale=narrow.scale)
    assert float(begun(narrow, linear(0, 12), components="exemplar", number=400)[0].factors[0]) > 4


def test_the_best_factor_is_that_of_the_data():
    """Points of N(0, 4 I) under one component of N(0, I): 2 is in the grid."""
    assert 2.0 in FACTORS
    u = 2 * torch.randn(4_000, 3, generator=seeded(14))
    assert best_factor(Components(torch.zeros(1, 3), torch.zeros(1, 3)), u) == 2.0


def test_points_without_moments_are_kernels():
    """A kernel density estimate whose width is chosen: below the spread of the data, and better than N(0, I)."""
    random = seeded(15)
    signs = torch.randint(0, 2, (3_000, 1), generator=random) * 2.0 - 1
    u = 2 * signs + 0.3 * torch.randn(3_000, 2, generator=random)
    prior, context = begun(Latents(u[:2_000]), Latents(u[2_000:]), components="exemplar", number=500)
    figures = prior.end_stage(1, context)
    assert float(prior.factors[0]) < 0.5
    # Two Gaussians of deviation 0.3 at +-(2, 2): log 2 + log(2 pi e 0.09) below E|u|^2 / 2 + log(2 pi) = 4.09 + log(2 pi).
    truth = 4.09 + math.log(2 * math.pi) - math.log(2) - math.log(2 * math.pi * math.e * 0.09)
    assert truth - 0.15 < figures["heldout_gain"] < truth + 0.05


def test_pseudo_components_are_learnt():
    """Few components, of linear-Gaussian data: the fit lowers the KL from that of the exemplars it starts at."""
    points, heldout = linear(4_000, 16), linear(2_000, 17)
    start, _ = begun(points, heldout, number=8)
    prior, figures = trained(points, heldout, 60, number=8)
    assert divergence(prior) < 0.02 < 0.6 * divergence(start)
    assert figures["heldout_gain"] > 0


def test_each_step_draws_posterior_samples_anew():
    """The loss does not read the stored samples, which are not numbers here, unless the moments are unknown."""
    points = linear(200, 23)
    prior, _ = begun(points, points, number=8)
    stored = Latents(torch.full_like(points.u, math.nan), mean=points.mean, scale=points.scale)
    first, second = (float(prior._loss(stored, Step(0, 1, seeded(seed))).value.detach()) for seed in (1, 2))
    assert math.isfinite(first) and math.isfinite(second) and first != second
    assert math.isnan(float(prior._loss(Latents(stored.u), Step(0, 1, seeded())).value.detach()))


def test_a_layer_that_gains_nothing_keeps_the_gaussian():
    """The second layer is N(0, I), of which 30 narrow exemplars are a bad estimate; the first gains."""
    first = linear(500, 18)
    noise = torch.randn(500, 20, generator=seeded(19))
    points = Latents(
        torch.cat([first.u / 4, noise], 1),
        mean=torch.cat([first.mean / 4, noise], 1),
        scale=torch.cat([first.scale / 4, torch.full((500, 20), 0.3)], 1),
    )
    prior, context = begun(points[:250], points[250:], 2, 20, components="exemplar", number=30)
    figures = prior.end_stage(1, context)
    assert prior.used.tolist() == [True, False]
    assert figures["heldout_gain_layer_1"] < 0 < figures["heldout_gain_layer_0"] == figures["heldout_gain"]


def test_only_chosen_layers_have_a_mixture():
    prior, _ = begun(linear(100, 20), linear(100, 21), 1, 1, layers="top:1")
    assert list(prior.mixtures) == ["0"] and prior.used.tolist() == [True, False]
    assert "heldout_gain_layer_1" not in prior.end_stage(1, StageContext(linear(9, 1), linear(9, 2), None, Streams(0)))
    with pytest.raises(UsageError, match="layers"):
        built(1, 1, layers="top:3")


@pytest.mark.parametrize(
    ("components", "dim", "count"),
    [("pseudo", 24, 100), ("exemplar", 24, 5_000), ("exemplar", 20_000, 1_000), ("exemplar", 10**6, 100)],
)
def test_the_number_of_components(components, dim, count):
    """100 pseudo-components; 5,000 exemplars, as far as 20 million numbers allow."""
    assert VampPriorSettings(components=components).count(dim) == count
    assert VampPriorSettings(components=components, number=7).count(dim) == 7


def test_a_resumed_stage_keeps_what_steps_have_moved():
    points = linear(100, 22)
    prior, context = begun(points, points)
    again = built(2)
    again.load_state_dict(prior.state_dict())
    with torch.no_grad():
        again.mixtures["0"].means.add_(1)
    moved = again.mixtures["0"].means.clone()
    again.begin_stage(1, context)
    assert torch.equal(again.mixtures["0"].means, moved)


def test_untrained_it_is_the_gaussian_exactly():
    prior, u = built(1, 2), torch.randn(4, 3, generator=seeded(0))
    assert torch.equal(prior.log_ratio(u), torch.zeros(4))
    assert torch.equal(prior.draw(4, Sampling(None, seeded(1))).u, torch.randn(4, 3, generator=seeded(1)))
