"""The ways in which a decoder may give its output, and an encoder wants its input, agree with each other."""

import pytest
import torch
from vaes import Flat, Ladder, flat_arguments, ladder_arguments

import priorkit
from priorkit.errors import UsageError
from priorkit.metrics import elbo, importance_bound
from priorkit.metrics.prior_bounds import Tilt, tilted_bounds

VAE = Flat()
X = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


class Few:
    """Examples."""

    labels = None

    def __len__(self):
        return len(X)

    def batch(self, indices):
        return X[indices]


def log_prob(**changed):
    backbone = priorkit.wrap(**flat_arguments(VAE, modules=[VAE], **changed))
    with torch.no_grad():
        return backbone.elbo(X, generator=torch.Generator().manual_seed(1)).value


def probabilities(z):
    return VAE.decode(z).sigmoid()


def test_logits_and_probabilities_are_the_same_bernoulli():
    assert torch.allclose(log_prob(), log_prob(decode=probabilities, output="mean"), rtol=1e-4)


def test_bernoulli_pixels_have_the_density_of_torch():
    backbone = priorkit.wrap(**flat_arguments(VAE))
    z, binary = torch.zeros(5, 4), X.round()
    expected = torch.distributions.Bernoulli(logits=VAE.decode(z)).log_prob(binary.flatten(1)).sum(1)
    assert torch.allclose(backbone.generate(z).likelihood.log_prob(binary), expected, rtol=1e-5)


def test_an_interval_is_the_scaling_that_a_user_would_write():
    """A VAE of images in [-1, 1], given as it is, and with its scaling written out."""
    as_it_is = log_prob(decode=lambda z: VAE.decode(z).tanh(), output="mean", likelihood="gaussian", interval=(-1, 1))
    scaled = log_prob(
        encode=lambda x: VAE.encode(2 * x - 1),
        decode=lambda z: (VAE.decode(z).tanh() + 1) / 2,
        output="mean",
        likelihood="gaussian",
    )
    assert torch.allclose(as_it_is, scaled, rtol=1e-5)


def test_gaussian_pixels_are_a_density_in_the_units_of_all_backbones():
    backbone = priorkit.wrap(**flat_arguments(VAE, likelihood="gaussian", sigma=0.4))
    z = torch.zeros(5, 4)
    mean = probabilities(z).view_as(X)
    expected = torch.distributions.Normal(2 * mean - 1, 0.4).log_prob(2 * X - 1).flatten(1).sum(1)
    assert torch.allclose(backbone.generate(z).likelihood.log_prob(X), expected, rtol=1e-5)
    assert torch.allclose(backbone.generate(z).likelihood.mean, mean, atol=1e-6)


def test_without_a_likelihood_there_is_no_bound_but_the_divergence():
    backbone = priorkit.wrap(**ladder_arguments(Ladder(), likelihood=None))
    generator = torch.Generator().manual_seed(2)
    assert backbone.elbo(X, generator=generator) is None
    assert elbo(backbone, Few(), generator=generator) is None
    assert importance_bound(backbone, Few(), samples=2, generator=generator) is None
    assert tilted_bounds(backbone, {"": Tilt.gaussian()}, Few(), samples=2, generator=generator) is None
    assert backbone.infer(X, generator=generator).kl.shape == (5, 2)
    likelihood = backbone.generate(torch.zeros(2, 5)).likelihood
    assert torch.equal(likelihood.sample(), likelihood.mean) and likelihood.mean.min() >= 0
    with pytest.raises(UsageError, match='likelihood="bernoulli"'):
        likelihood.log_prob(X[:2])
