"""A wrapped VAE of two layers whose densities, posterior and evidence are known in closed form.

z1 ~ N(0, 1), z2 = A z1 + a + t e, x = C z2 + s e with a diagonal C, so that p(z1 | x) and
p(z2 | z1, x) are diagonal Gaussians.
"""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

import priorkit

A, SHIFT, T = torch.tensor([[0.9], [-0.4]]).double(), torch.tensor([0.3, -0.2]).double(), torch.tensor([0.7, 0.5]).double()
C, S = torch.tensor([1.3, 0.6]).double(), 0.5
X = torch.tensor([[0.5, -1.0], [1.5, 0.2], [-0.3, 0.4]]).double()


def rng(seed):
    return torch.Generator().manual_seed(seed)


def conditional(z1):
    return z1 @ A.T + SHIFT, (2 * T.log()).expand(len(z1), 2)


def decode(z1, z2):
    return C * z2


def exact_bottom(x, z1):
    """p(z2 | z1, x)."""
    precision = 1 / T**2 + C**2 / S**2
    mean = ((z1 @ A.T + SHIFT) / T**2 + C * x / S**2) / precision
    return mean, (-precision.log()).expand(len(x), 2)


def exact_top(x):
    """p(z1 | x): x = C A z1 + C a + noise of variance C^2 T^2 + S^2."""
    slope, noise = C * A[:, 0], C**2 * T**2 + S**2
    precision = 1 + (slope**2 / noise).sum()
    mean = ((x - C * SHIFT) * slope / noise).sum(1, keepdim=True) / precision
    return mean, -precision.log().expand(len(x), 1)


def rough_top(x):
    return x @ torch.tensor([[0.4], [-0.1]]).double(), x.new_full((len(x), 1), -0.6)


D, B = torch.tensor([[0.5], [0.2]]).double(), torch.tensor([[0.6, 0.1], [-0.2, 0.8]]).double()
VARIANCE = torch.tensor([0.3, 0.2]).double()


def rough_bottom(x, z1):
    return x @ B.T + z1 @ D.T, VARIANCE.log().expand(len(x), 2)


def model(*encode):
    functions = {"encode": encode, "decode": lambda *z: decode(*(part.to(X) for part in z)), "conditionals": conditional}
    wanted = {
        "latents": (1, 2),
        "shape": (2,),
        "likelihood": "gaussian",
        "sigma": S,
        "modules": [torch.nn.Linear(1, 1).double()],
    }
    return priorkit.wrap(**functions, **wanted)


def test_u_is_the_noise_of_each_layer():
    backbone, u = model(rough_top, rough_bottom), torch.randn(6, 3, generator=rng(0)).double()
    z1, z2 = backbone.layout.split(backbone.latents(u))
    assert torch.equal(z1, u[:, :1])
    assert torch.allclose((z2 - (z1 @ A.T + SHIFT)) / T, u[:, 1:], atol=1e-12)
    assert torch.allclose(backbone.noise(backbone.latents(u)), u, atol=1e-12)
    half = backbone.top_down(6, temperature=0.5)
    half.take(z1)
    assert torch.allclose(half.context().scale, 0.5 * T.expand(6, 2))


def test_the_log_ratio_is_log_q_minus_log_p_of_z():
    backbone = model(rough_top, rough_bottom)
    posterior = backbone.infer(X, generator=rng(1))
    z1, z2 = backbone.layout.split(backbone.latents(posterior.u))
    log_q = log_p = torch.zeros(len(X)).double()
    for z, (mean, log_variance) in ((z1, rough_top(X)), (z2, rough_bottom(X, z1))):
        log_q = log_q + Normal(mean, (0.5 * log_variance).exp()).log_prob(z).sum(1)
    for z, (mean, scale) in ((z1, (torch.zeros(3, 1), 1.0)), (z2, (z1 @ A.T + SHIFT, T))):
        log_p = log_p + Normal(mean, scale).log_prob(z).sum(1)
    assert torch.allclose(posterior.log_ratio, log_q - log_p, atol=1e-10)
    density = Normal(posterior.mean, posterior.scale).log_prob(posterior.u) - Normal(0.0, 1.0).log_prob(posterior.u)
    assert torch.allclose(posterior.log_ratio, density.sum(1), atol=1e-10)


def test_under_the_exact_posterior_every_sample_gives_the_evidence():
    """p(x | z) p(z) / q(z | x) is p(x) at every z."""
    backbone = model(exact_top, exact_bottom)
    posterior = backbone.infer(X, generator=rng(2))
    value = backbone.generate(posterior.u).likelihood.log_prob(X) - posterior.log_ratio
    lower = A @ A.T + torch.diag(T**2)
    covariance = torch.diag(C) @ lower @ torch.diag(C) + S**2 * torch.eye(2)
    assert torch.allclose(value, MultivariateNormal(C * SHIFT, covariance).log_prob(X), atol=1e-9)


def test_the_mean_of_the_elbo_is_its_closed_form():
    count = 40_000
    many = X.repeat_interleave(count, 0)
    elbo = model(rough_top, rough_bottom).elbo(many, generator=rng(3))
    m1, v1 = rough_top(X)[0], math.exp(-0.6)
    top = 0.5 * (m1**2 + v1 - 1 + 0.6).sum(1)
    offset, slope = X @ B.T - SHIFT, D - A
    square = (offset + m1 @ slope.T) ** 2 + v1 * (slope**2).T
    bottom = 0.5 * ((VARIANCE + square) / T**2 - 1 + (T**2 / VARIANCE).log()).sum(1)
    centre, spread = C * (X @ B.T + m1 @ D.T), C**2 * (VARIANCE + v1 * (D[:, 0] ** 2))
    fit = -0.5 * (((X - centre) ** 2 + spread) / S**2 + math.log(2 * math.pi * S**2)).sum(1)
    for found, exact in ((elbo.kl[:, 0], top), (elbo.kl[:, 1], bottom), (elbo.log_px, fit)):
        rows = found.view(len(X), count)
        # Five standard errors, and rounding where the value does not depend on the sample.
        assert ((rows.mean(1) - exact).abs() <= 5 * rows.std(1) / count**0.5 + 1e-9).all()


@pytest.mark.parametrize("points", [1, 5])
def test_one_function_for_both_layers_has_the_density_of_its_product(points):
    def both(x):
        return rough_top(x), rough_bottom(x, torch.zeros(len(x), 1).double())

    backbone, u = model(both), torch.randn(points, 3, generator=rng(4)).double()
    z1, z2 = backbone.layout.split(backbone.latents(u))
    pairs = backbone.posterior_density(X).log_ratio(u)
    for n, x in enumerate(X[:, None]):
        (m1, l1), (m2, l2) = both(x)
        log_q = Normal(m1, (0.5 * l1).exp()).log_prob(z1).sum(1) + Normal(m2, (0.5 * l2).exp()).log_prob(z2).sum(1)
        log_p = Normal(0.0, 1.0).log_prob(z1).sum(1) + Normal(z1 @ A.T + SHIFT, T).log_prob(z2).sum(1)
        assert torch.allclose(pairs[:, n], log_q - log_p, atol=1e-9)
    assert model(rough_top, rough_bottom).posterior_density(X) is None
