"""The correlation of a layer's entries beside its conditional Gaussian, on a hierarchy of a known Gaussian posterior."""

import pytest
import torch
from seeding import seeded
from test_conditional_base import prior
from test_multistage_conditional import assert_moments, sampler
from test_ncp_hierarchy import aggregated_posterior
from torch.distributions import MultivariateNormal, Normal

from priorkit.core import Latents, Sampling, StageContext, Streams
from priorkit.energies import LayerGaussian


def gaussian():
    factor = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.7, 0.0], [-0.3, 0.4, 0.9]]).double()
    mean, log_scale = torch.tensor([[0.3, -1.0, 0.1]]).double(), torch.tensor([[-0.4, 0.2, 0.0]]).double()
    scale = log_scale[0].exp().diag()
    return LayerGaussian(mean, log_scale, factor), MultivariateNormal(mean[0], scale @ factor @ factor.T @ scale)


def test_density_and_draws_are_those_of_the_covariance():
    own, known = gaussian()
    u = torch.randn(40, 3, generator=seeded(), dtype=torch.float64)
    torch.testing.assert_close(own.log_ratio(u), known.log_prob(u) - Normal(0.0, 1.0).log_prob(u).sum(1))
    assert_moments(own.place(torch.randn(20_000, 3, generator=seeded(1)).double()), known.mean, known.covariance_matrix)


def test_the_expected_log_ratio_is_the_mean_over_the_posterior():
    """Within 5 standard errors of 200,000 draws."""
    own, _ = gaussian()
    mean, scale = torch.tensor([[0.5, 0.1, -0.4]]).double(), torch.tensor([[0.7, 1.2, 0.3]]).double()
    drawn = own.log_ratio(mean + scale * torch.randn(200_000, 3, generator=seeded(2)).double())
    assert (own.expected_log_ratio(mean, scale) - drawn.mean()).abs() < 5 * drawn.std() / len(drawn) ** 0.5


def context(positives, heldout):
    return StageContext(Latents(positives), Latents(heldout), sampler(), Streams(0))


def test_the_base_alone_is_a_gaussian_aggregated_posterior():
    """With the true conditional means, entries of the second layer are correlated and the base becomes the posterior: its
    covariance, its density, and a gain of its own within the error of 20,000 points."""
    made, _ = prior(active=0, layers="top:1")
    joint = aggregated_posterior()
    u = joint.sample((22_000,))
    figures = made.end_stage(1, context(u[:20_000], u[20_000:]))
    assert made.base.correlated.tolist() == [False, True]
    drawn = made.draw(20_000, Sampling(sampler(1), seeded(3))).u
    assert_moments(drawn, joint.mean, joint.covariance_matrix)
    known = joint.log_prob(u[20_000:]) - Normal(0.0, 1.0).log_prob(u[20_000:]).sum(1)
    assert abs(figures["heldout_gain"] - float(known.mean())) < 5e-3
    assert figures["heldout_gain_layer_1"] > figures["heldout_gain_diagonal_layer_1"]


def test_noise_of_the_posterior_comes_in_by_its_variance():
    """600 points with a posterior of known width give the covariance better than 600 draws of them."""
    joint, errors = aggregated_posterior(), []
    for known in (True, False):
        made, _ = prior(active=0, layers="top:1")
        made.base.eval()
        centre = joint.mean + 0.3 * (joint.sample((600,)) - joint.mean)
        # Points N(centre, w): the aggregate has covariance 0.09 C + w.
        width = (0.91 * joint.covariance_matrix.diagonal()).sqrt().expand_as(centre)
        moments = {"mean": centre, "scale": width} if known else {}
        u = centre + width * torch.randn(centre.shape, generator=seeded(5)).double()
        batch = Latents(u, **moments)
        made.base.correlate([(batch, made.descent(len(batch)))])
        rest, noise = made.base.at(1, below(made, u)).standardised(centre[:, 1:], width[:, 1:])
        exact = (rest.T @ rest + noise.square().sum(0).diag()) / len(u)
        factor = made.base.get_buffer("factor_1")
        errors.append((factor @ factor.T - exact).detach().abs().max().item())
    assert errors[0] < 1e-9 < errors[1]


def below(made, u):
    descent = made.descent(len(u))
    descent.take(u[:, :1])
    return descent


def test_correlation_that_does_not_hold_on_held_out_points_is_left_out():
    made, joint = prior(active=0, layers="top:1")
    u = aggregated_posterior().sample((2_000,))
    made.end_stage(1, context(u, joint.sample((2_000,))))
    assert made.base.correlated.tolist() == [False, False] and made.base_kept.all()


@pytest.mark.parametrize("layers, correlated", [("all", False), ("top:1", True)])
def test_a_layer_that_has_a_ratio_is_correlated_only_where_that_is_worth_a_nat(layers, correlated):
    """Here it is worth a tenth of a nat."""
    made, _ = prior(active=0, layers=layers)
    u = aggregated_posterior().sample((2_000,))
    gains = made.end_stage(1, context(u, u))
    assert 0 < gains["heldout_gain_layer_1"] - gains["heldout_gain_diagonal_layer_1"] < 1 or not correlated
    assert bool(made.base.correlated[1]) == correlated


@pytest.mark.parametrize("count, enough", [(3, False), (4, True)])
def test_few_points_tell_nothing_of_correlation(count, enough):
    made, _ = prior(active=0, layers="top:1")
    u = aggregated_posterior().sample((count,))
    made.base.eval().correlate([(Latents(u), made.descent(count))])
    assert bool(made.base.correlated[1]) == enough
