"""The posterior's chain against a linear-Gaussian generator, whose posterior is known."""

import pytest
import torch
from linear_gaussian import SIZES, LinearGenerator, Quadratic, Walk, observed, posterior
from torch.distributions import Normal

from priorkit.core import Context, PosteriorChain, PosteriorChainSettings, density_of_z, invert
from priorkit.mcmc import log_normal

CHAINS = 4_000
STEP = 0.2


def known(reads):
    backbone = LinearGenerator()
    return backbone, None if reads is None else Quadratic(backbone.space(), reads)


@pytest.mark.parametrize("adjusted", [False, True])
@pytest.mark.parametrize("space", ["u", "z"])
@pytest.mark.parametrize("reads", [None, "u", "z"])
def test_mean_and_covariance_are_those_of_the_posterior(reads, space, adjusted):
    """Adjusted they are exact; unadjusted, a precision P of the space's target widens the covariance by (I - s P / 4)^{-1}.

    The start contracts by (1 - s lambda / 2) a step, to 1e-3 after 70 for the smallest eigenvalue here, which is 1.
    """
    backbone, prior = known(reads)
    x = observed(1).expand(CHAINS, -1)
    settings = PosteriorChainSettings(steps=150 if adjusted else 70, step_size=STEP, adjusted=adjusted)
    chain = PosteriorChain(settings, space)
    u = chain.infer(backbone, prior, x, generator=torch.Generator().manual_seed(1))
    assert not u.requires_grad and all(p.requires_grad and p.grad is None for p in backbone.parameters())
    with torch.no_grad():
        mean, precision = posterior(backbone, prior, x[:1])
        m = backbone.m() if space == "z" else torch.eye(5).double()
        of_target = torch.linalg.inv(m).T @ precision @ torch.linalg.inv(m)
        assert STEP * torch.linalg.eigvalsh(of_target).max() < 4, "the unadjusted chain would diverge"
        bias = torch.eye(5).double() if adjusted else torch.linalg.inv(torch.eye(5).double() - STEP * of_target / 4)
        covariance = torch.linalg.inv(m) @ torch.linalg.inv(of_target) @ bias @ torch.linalg.inv(m).T
    deviation = covariance.diagonal().sqrt()
    # Standard errors: 1 / sqrt(n) of a standardised mean, at most sqrt(2 / n) of a standardised covariance; 5 of each.
    assert ((u.mean(0) - mean[0]) / deviation).abs().max() < 5 / CHAINS**0.5
    error = (torch.cov(u.T) - covariance) / torch.outer(deviation, deviation)
    assert error.abs().max() < 5 * (2 / CHAINS) ** 0.5


def test_the_bias_is_real():
    """Fails without the correction: the same test on the unadjusted chain would miss the posterior's covariance."""
    backbone, _ = known(None)
    x = observed(1).expand(CHAINS, -1)
    settings = PosteriorChainSettings(steps=70, step_size=STEP)
    u = PosteriorChain(settings).infer(backbone, None, x, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        precision = posterior(backbone, None, x[:1])[1]
    widened = torch.linalg.eigvals(precision @ torch.cov(u.T)).real.max()
    assert widened > 1 + 10 * (2 / CHAINS) ** 0.5


def test_inverse_and_volume():
    backbone = LinearGenerator()
    z = torch.randn(4, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    u, log_volume = invert(backbone, z)
    torch.testing.assert_close(backbone.latents(u), z, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(log_volume, torch.linalg.slogdet(backbone.m())[1].expand(4))


class ScaledWalk(Walk):
    """The scale of the second layer is e^(a coordinate of the first) times that of the linear generator."""

    def context(self):
        given = super().context()
        return Context(given.mean, given.scale * self.taken[0][:, :1].exp(), None) if self.taken else given


class ScaledGenerator(LinearGenerator):
    def top_down(self, batch, *, temperature=1.0):
        return ScaledWalk(self, batch)


def test_the_density_of_z_is_the_product_of_the_layers_gaussians():
    """Of u ~ N(0, I), where a scale depends on the layer above, so that the Jacobian is no constant."""
    backbone = ScaledGenerator()
    z = torch.randn(6, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    top, below = z.split(SIZES, dim=1)
    scale = backbone.log_s.exp() * top[:, :1].exp()
    truth = Normal(0.0, 1.0).log_prob(top).sum(1) + Normal(top @ backbone.a.T, scale).log_prob(below).sum(1)
    found = density_of_z(backbone, log_normal)(z)
    torch.testing.assert_close(found - found[0], truth - truth[0])


def test_rows_do_not_meet_and_the_seed_decides():
    backbone, prior = known("z")
    chain = PosteriorChain(PosteriorChainSettings(steps=5, step_size=0.1, adjusted=True))
    first, again = (chain.run(backbone, prior, observed(3), generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert backbone.training and prior.training
