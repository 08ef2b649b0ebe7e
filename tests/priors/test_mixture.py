"""Gaussian mixtures against scipy's densities, quadrature and known conditionals."""

import math

import numpy as np
import pytest
import torch
from priorkit_mixture import MixturePrior, MixtureSettings
from priorkit_mixture.mixture import Mixture
from scipy.stats import multivariate_normal, norm
from seeding import seeded

from priorkit.core import Condition, Latents, LatentSpace, Layout, Sampling, StageContext, Streams

WEIGHTS = (0.2, 0.5, 0.3)


def space(*sizes):
    return LatentSpace(Layout(tuple((size,) for size in sizes)), lambda u: u, lambda batch: None)


def known(dim, kind="full"):
    """Means (3, D) and covariances (3, D, D) of a mixture, float64."""
    random = seeded(dim)
    means = torch.randn(3, dim, generator=random, dtype=torch.float64)
    roots = torch.randn(3, dim, dim, generator=random, dtype=torch.float64) / dim**0.5
    covariances = roots @ roots.mT + 0.3 * torch.eye(dim, dtype=torch.float64)
    if kind == "diagonal":
        covariances = torch.diag_embed(covariances.diagonal(dim1=1, dim2=2))
    return means, covariances


def made(sizes, kind="full", parts="joint"):
    """The prior with the known mixture, float64, and its moments."""
    means, covariances = known(sum(sizes), kind)
    prior = MixturePrior(MixtureSettings(parts=parts), space(*sizes)).double()
    factors = covariances.diagonal(dim1=1, dim2=2).sqrt() if kind == "diagonal" else torch.linalg.cholesky(covariances)
    (mixture,) = prior.mixtures
    mixture.set({"log_weights": torch.tensor(WEIGHTS).double().log(), "means": means, "factors": factors})
    return prior, means, covariances


def density(u, means, covariances):
    """log p(u) by scipy, (N,)."""
    parts = [w * multivariate_normal(m, c).pdf(u) for w, m, c in zip(WEIGHTS, means, covariances, strict=True)]
    return torch.from_numpy(np.log(np.sum(parts, axis=0)))


@pytest.mark.parametrize("kind", ["full", "diagonal"])
def test_the_density_is_scipy_s_in_16_dimensions(kind):
    prior, means, covariances = made((4, 12), kind)
    u = torch.randn(200, 16, generator=seeded(1), dtype=torch.float64)
    constant = 8 * math.log(2 * math.pi)
    torch.testing.assert_close(prior.log_prob(u) - constant, density(u, means.numpy(), covariances.numpy()))


def test_its_terms_are_the_conditionals_of_the_layers():
    """log p(u_1) by scipy from the marginal; the second term is the rest."""
    prior, means, covariances = made((4, 12))
    u = torch.randn(50, 16, generator=seeded(2), dtype=torch.float64)
    top = density(u[:, :4], means[:, :4].numpy(), covariances[:, :4, :4].numpy())
    terms = prior.layer_log_ratio(u)
    torch.testing.assert_close(terms[:, 0], top - torch.from_numpy(norm.logpdf(u[:, :4]).sum(1)))
    torch.testing.assert_close(terms.sum(1), prior.log_ratio(u))


def test_it_integrates_to_one_in_two_dimensions():
    prior, _, _ = made((2,))
    axis = torch.linspace(-9, 9, 901, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    total = (prior.log_prob(grid) - math.log(2 * math.pi)).exp().sum() * (axis[1] - axis[0]) ** 2
    assert abs(total.item() - 1) < 1e-6


@pytest.mark.parametrize("kind", ["full", "diagonal"])
def test_draws_have_its_moments(kind):
    """Over n draws an entry of the mean is off by at most 5 sqrt(v / n), one of the second moments by 5 sqrt(m4 / n)."""
    prior, means, covariances = made((2, 2), kind)
    n, weights = 40_000, torch.tensor(WEIGHTS).double()
    u = prior.draw(n, Sampling(None, seeded(3))).u
    mean = weights @ means
    second = torch.einsum("k,kij->ij", weights, covariances + means[:, :, None] * means[:, None])
    assert ((u.mean(0) - mean).abs() < 5 * u.std(0) / n**0.5).all()
    products = u[:, :, None] * u[:, None]
    assert ((products.mean(0) - second).abs() < 5 * products.std(0) / n**0.5).all()


@pytest.mark.parametrize("kind", ["full", "diagonal"])
def test_below_fixed_layers_draws_are_of_the_conditional(kind):
    """Mean and covariance of u_2 given u_1 = a: components weighed by their density at a, each a conditional Gaussian."""
    prior, means, covariances = made((2, 2), kind)
    a, n = torch.tensor([0.4, -0.8], dtype=torch.float64), 40_000
    u = prior.draw(n, Sampling(None, seeded(4), condition=Condition(top=a.expand(n, 2)))).u
    assert torch.equal(u[:, :2], a.expand(n, 2))
    at = [multivariate_normal(m[:2], c[:2, :2]).pdf(a) for m, c in zip(means.numpy(), covariances.numpy(), strict=True)]
    weights = torch.tensor(WEIGHTS).double() * torch.tensor(at)
    weights = weights / weights.sum()
    gain = covariances[:, 2:, :2] @ torch.linalg.inv(covariances[:, :2, :2])
    centres = means[:, 2:] + torch.einsum("kij,kj->ki", gain, a - means[:, :2])
    spread = covariances[:, 2:, 2:] - gain @ covariances[:, :2, 2:]
    mean = weights @ centres
    second = torch.einsum("k,kij->ij", weights, spread + centres[:, :, None] * centres[:, None])
    lower = u[:, 2:]
    assert ((lower.mean(0) - mean).abs() < 5 * lower.std(0) / n**0.5).all()
    products = lower[:, :, None] * lower[:, None]
    assert ((products.mean(0) - second).abs() < 5 * products.std(0) / n**0.5).all()


def fit(points, heldout, settings=None, layers=None):
    prior = MixturePrior(settings or MixtureSettings(), space(*(layers or (points.shape[1],))))
    context = StageContext(Latents(points), Latents(heldout), None, Streams(0))
    prior.begin_stage(1, context)
    return prior, prior.end_stage(1, context)


def rings(n, seed):
    """Five narrow Gaussians on a circle, (n, 2)."""
    random = seeded(seed)
    angle = torch.randint(5, (n,), generator=random) * (2 * math.pi / 5)
    return 2 * torch.stack([angle.cos(), angle.sin()], 1) + 0.2 * torch.randn(n, 2, generator=random)


def test_the_number_of_components_is_that_of_the_data():
    prior, figures = fit(rings(2_000, 1), rings(1_000, 2))
    assert figures["components_0"] == 5
    # Entropy of 5 equal Gaussians that do not overlap: log 5 + log(2 pi e 0.04); 0.1 is above four standard errors.
    points = rings(2_000, 3)
    nats = prior.log_prob(points).mean().item() - math.log(2 * math.pi)
    assert abs(nats + math.log(5) + math.log(2 * math.pi * math.e * 0.04)) < 0.1


def test_more_than_50_clusters_have_a_component_each():
    """81 narrow Gaussians on a grid."""
    random = seeded(4)
    points = 0.4 * torch.randint(9, (2_400, 2), generator=random) - 1.6 + 0.04 * torch.randn(2_400, 2, generator=random)
    assert fit(points[:1_800], points[1_800:])[1]["components_0"] in (100, 200)


def test_without_held_out_points_the_information_criterion_chooses():
    assert fit(rings(2_000, 1), rings(0, 2))[1] == {"components_0": 5.0}


def test_the_chosen_mixture_is_fitted_to_all_points():
    """Noise needs one component, whose mean and covariance are those of all points, not of the 5,000 compared."""
    points = torch.randn(7_000, 3, generator=seeded(1), dtype=torch.float64)
    prior, _ = fit(points, torch.randn(2_000, 3, generator=seeded(2), dtype=torch.float64))
    (mixture,) = prior.mixtures
    assert len(mixture.means) == 1
    torch.testing.assert_close(mixture.means[0].double(), points.mean(0), rtol=0, atol=1e-6)
    covariance = points.T.cov(correction=0) + 1e-4 * torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(mixture.factors[0].double() @ mixture.factors[0].double().T, covariance, rtol=0, atol=1e-5)


def test_noise_is_left_alone():
    """Of N(0, I) one component is best, and gains nothing on held-out points: 6 numbers fitted to 4,000 cost 6 / 8,000."""
    noise = torch.randn(8_000, 2, generator=seeded(5))
    _, figures = fit(noise[:4_000], noise[4_000:])
    assert figures["components_0"] == 1 and abs(figures["heldout_gain"]) < 0.01


@pytest.mark.parametrize("covariance", ["full", "diagonal", "tied"])
def test_mixtures_of_layers_are_independent(covariance):
    points = torch.cat([rings(1_000, 6), rings(1_000, 7)], 1)
    prior, figures = fit(points, points[:0], MixtureSettings(parts="layers", components=5, covariance=covariance), (2, 2))
    assert figures == {"components_0": 5.0, "components_1": 5.0}
    u = torch.randn(30, 4, generator=seeded(8))
    swapped = torch.cat([u[:, :2], u[:, 2:].flip(0)], 1)
    torch.testing.assert_close(prior.layer_log_ratio(swapped)[:, 1], prior.layer_log_ratio(u)[:, 1].flip(0))


def test_saved_components_come_back():
    prior, _ = fit(rings(500, 1), rings(500, 2))
    again = MixturePrior(MixtureSettings(), space(2))
    again.load_state_dict(prior.state_dict())
    u = torch.randn(20, 2, generator=seeded(9))
    assert torch.equal(again.log_ratio(u), prior.log_ratio(u)) and len(again.mixtures[0].means) == 5


def test_untrained_it_is_the_gaussian():
    prior, u = MixturePrior(MixtureSettings(), space(1, 2)), torch.randn(4, 3, generator=seeded(0))
    assert torch.equal(prior.log_ratio(u), torch.zeros(4))
    assert isinstance(prior.mixtures[0], Mixture)
