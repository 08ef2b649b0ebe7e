"""Flow matching with the exact velocities of Gaussians and mixtures, whose densities are known."""

import math

import pytest
import torch
from flows import MixtureVelocity, known, log_density, space
from priorkit_flowmatching import FlowMatchingPrior, FlowMatchingSettings
from seeding import seeded
from torch import nn

from priorkit.core import Condition, Latents, LatentSpace, Layout, Sampling, StageContext, Step, Streams

LOSSES = ["velocity", "score"]


def made(*sizes, nets=(), **options):
    prior = FlowMatchingPrior(FlowMatchingSettings(net={"width": 16, "channels": 4}, **options), space(*sizes)).double()
    if nets:
        prior.nets = nn.ModuleList(nets)
    return prior.eval()


def exact(dim, components=3, loss="velocity", **options):
    """The prior whose field is that of the known mixture, and the mixture."""
    means, covariances = known(dim, components)
    net = MixtureVelocity(means, covariances, score=loss == "score")
    return made(dim, nets=[net], loss=loss, **options), means, covariances


def points(n, dim, seed=1):
    return torch.randn(n, dim, generator=seeded(seed), dtype=torch.float64)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("divergence", ["exact", "hutchinson"])
def test_untrained_it_is_the_gaussian(loss, divergence):
    prior, u = made(1, 3, loss=loss, divergence=divergence, density_steps=10), points(20, 4)
    assert torch.equal(prior.log_ratio(u), u.new_zeros(20))
    assert torch.equal(prior.draw(20, Sampling(None, seeded(2))).u, prior.standard_normal(20, seeded(2)))


def test_of_normal_data_the_velocity_is_0():
    zero, eye = torch.zeros(1, 3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)[None]
    angle = torch.rand(50, generator=seeded(3), dtype=torch.float64)
    assert MixtureVelocity(zero, eye)(points(50, 3), angle).abs().max() < 1e-14


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("dim", "components"), [(2, 1), (16, 3)])
def test_the_density_is_that_of_the_known_mixture(loss, dim, components):
    """100 steps leave an error of 5e-3 nats.  The score starts at a signal of a = 0.0067 as if there were none: an error of
    about a |m| |x|, here up to 0.025, with a mean of a^2 |m|^2 / 2 over the mixture."""
    prior, means, covariances = exact(dim, components, loss, density_steps=100, divergence="exact")
    u = means[0] + points(10, dim) @ torch.linalg.cholesky(covariances[0]).T
    with torch.no_grad():
        error = prior.log_ratio(u) - log_density(u, means, covariances)
    assert error.abs().max() < (1e-2 if loss == "velocity" else 0.04)


def test_it_integrates_to_one_in_two_dimensions():
    prior = exact(2, density_steps=30)[0]
    axis = torch.linspace(-7, 7, 101, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        total = (prior.log_prob(grid) - math.log(2 * math.pi)).exp().sum() * (axis[1] - axis[0]) ** 2
    assert abs(total.item() - 1) < 2e-3


@pytest.mark.parametrize("loss", LOSSES)
def test_draws_have_the_moments_of_the_mixture(loss):
    """Over n draws a mean is off by at most 5 sqrt(v / n), a second moment by 5 sqrt(m4 / n)."""
    prior, means, covariances = exact(2, 3, loss, steps=100)
    n, weights = 20_000, torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    u = prior.draw(n, Sampling(None, seeded(4))).u
    second = torch.einsum("k,kij->ij", weights, covariances + means[:, :, None] * means[:, None])
    assert ((u.mean(0) - weights @ means).abs() < 5 * u.std(0) / n**0.5).all()
    products = u[:, :, None] * u[:, None]
    assert ((products.mean(0) - second).abs() < 5 * products.std(0) / n**0.5).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_halving_the_steps_quarters_the_error(loss):
    """Heun's method is of second order, in draws and in densities."""
    finest = exact(3, 2, loss, steps=320, density_steps=320)[0]
    u, draws, densities = points(20, 3), [], []
    for steps in (40, 80):
        prior = exact(3, 2, loss, steps=steps, density_steps=steps)[0]
        drawn = [one.draw(20, Sampling(None, seeded(5))).u for one in (prior, finest)]
        draws.append((drawn[0] - drawn[1]).abs().mean())
        with torch.no_grad():
            densities.append((prior.log_ratio(u) - finest.log_ratio(u)).abs().mean())
    for coarse, fine in (draws, densities):
        assert 3.2 < coarse / fine < 5


def test_both_parameterisations_give_the_same_map():
    """Up to the score's first angle a, from which a draw is off by about a times its distance from the noise."""
    velocity, score = (exact(3, 2, loss, steps=400)[0] for loss in LOSSES)
    one, other = (prior.draw(50, Sampling(None, seeded(6))).u for prior in (velocity, score))
    assert (one - other).abs().max() < 0.04 < (one - velocity.standard_normal(50, seeded(6))).abs().max()


def test_both_parameterisations_are_the_same_equation():
    """output_score ds/da = output_velocity, with a the angle and da/ds by central differences."""
    velocity, score = (exact(3, 2, loss)[0] for loss in LOSSES)
    x, h = points(8, 3), 1e-6
    for s in (-4.0, -1.0, -0.2):
        slope = (score.parameterisation.angle(s + h) - score.parameterisation.angle(s - h)) / (2 * h)
        descents = [prior.descent(8) for prior in (velocity, score)]
        by_score = score.field(0, descents[1])(x, s)
        by_velocity = velocity.field(0, descents[0])(x, score.parameterisation.angle(s))
        torch.testing.assert_close(by_score, by_velocity * slope, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("weighting", ["path", "likelihood"])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_exact_velocity_has_the_least_loss(loss, weighting):
    """The gradient to an added affine function is 0 within 5 standard errors there, and not at another velocity."""
    means, covariances = known(2, 1)

    class Added(MixtureVelocity):
        def __init__(self, wrong):
            super().__init__(means + wrong, covariances, score=loss == "score")
            self.matrix = nn.Parameter(torch.zeros(2, 3, dtype=torch.float64))

        def forward(self, x, angle, given=None):
            return super().forward(x, angle) + torch.cat([x, x.new_ones(len(x), 1)], 1) @ self.matrix.T

    worst = {}
    for wrong in (0.0, 0.3):
        net = Added(wrong)
        prior, found = made(2, nets=[net], loss=loss, weighting=weighting), []
        for batch in range(30):
            u = means + points(2_000, 2, 100 + batch) @ torch.linalg.cholesky(covariances[0]).T
            value = prior.objectives()[0].loss(Latents(u), Step(0, 1, seeded(batch))).value
            found.append(torch.autograd.grad(value, net.matrix)[0].flatten())
        gradients = torch.stack(found)
        worst[wrong] = float((gradients.mean(0).abs() / (gradients.std(0) / 30**0.5)).max())
    assert worst[0.0] < 5 < worst[0.3]


def linear():
    """u_2 given u_1 is N(A u_1 + b, S), u_1 is N(m, T): nets, and the joint mean and covariance."""
    (top, below), slope = (known(2, 1), known(3, 1)), points(3, 2, 9)
    nets = [MixtureVelocity(*top), MixtureVelocity(*below, slope=slope)]
    mean = torch.cat([top[0][0], below[0][0] + slope @ top[0][0]])
    cross = slope @ top[1][0]
    covariance = torch.cat([torch.cat([top[1][0], cross.T], 1), torch.cat([cross, below[1][0] + cross @ slope.T], 1)])
    return nets, mean, covariance, slope


def test_layers_given_those_above_have_the_joint_density():
    nets, mean, covariance, _ = linear()
    prior, u = made(2, 3, nets=nets, density_steps=200), points(20, 5)
    with torch.no_grad():
        terms = prior.layer_log_ratio(u)
    top = log_density(u[:, :2], mean[None, :2], covariance[None, :2, :2])
    assert (terms[:, 0] - top).abs().max() < 5e-3
    assert (terms.sum(1) - log_density(u, mean[None], covariance[None])).abs().max() < 2e-2


def test_below_fixed_layers_draws_are_of_the_conditional():
    nets, _, _, slope = linear()
    prior, n = made(2, 3, nets=nets, steps=100), 20_000
    top = torch.tensor([0.4, -0.8], dtype=torch.float64)
    u = prior.draw(n, Sampling(None, seeded(7), condition=Condition(top=top.expand(n, 2)))).u
    assert torch.equal(u[:, :2], top.expand(n, 2))
    means, covariances = known(3, 1)
    lower, mean, covariance = u[:, 2:], means[0] + slope @ top, covariances[0]
    assert ((lower.mean(0) - mean).abs() < 5 * (covariance.diagonal() / n).sqrt()).all()
    error = (covariance.diagonal()[:, None] * covariance.diagonal() + covariance.square()).div(n).sqrt()
    assert ((lower.T.cov() - covariance).abs() < 5 * error).all()


def test_a_stage_ends_with_the_held_out_gain_and_the_error_of_its_estimate():
    """The exact one is the mean log ratio; the estimates differ from it by their own standard errors."""
    found = {}
    for divergence in ("exact", "auto", "hutchinson"):
        prior, means, covariances = exact(16, 2, density_steps=4, divergence=divergence)
        heldout = means[0] + points(50, 16) @ torch.linalg.cholesky(covariances[0]).T
        contexts = [StageContext(Latents(heldout), Latents(heldout), None, Streams(seed)) for seed in range(80)]
        found[divergence] = [prior.end_stage(1, context) for context in contexts[: 1 if divergence == "exact" else 80]]
        if divergence == "exact":
            mean = float(prior.log_ratio(heldout).detach().mean())
    (value,) = found["exact"]
    assert value["heldout_gain"] == pytest.approx(mean, abs=1e-9) and value["heldout_gain_error"] == 0
    for estimates in (found["auto"], found["hutchinson"]):
        assert all(0 < each["heldout_gain_error"] < 0.5 for each in estimates)
        standard = [(each["heldout_gain"] - mean) / each["heldout_gain_error"] for each in estimates]
        # A chi-square variable of 80 degrees of freedom: within these for 97 of 100 sets of seeds, and these do not vary.
        assert 55 < sum(error**2 for error in standard) < 110


def test_layers_of_one_size_have_directions_of_their_own():
    prior, like = made(3, 3, divergence="hutchinson"), points(1, 3)
    assert not torch.equal(prior._probes(0, like).directions, prior._probes(1, like).directions)


def test_the_held_out_loss_of_an_untrained_prior_is_the_energy_of_the_velocity():
    """E |cos u - sin e|^2 per latent over uniform angles is (E u^2 + 1) / 2; 0.1 is above five standard errors."""
    prior, u = made(2, path="trigonometric"), 3 + points(4_000, 2)
    context = StageContext(Latents(u), Latents(u), None, Streams(0))
    assert abs(prior.heldout_loss(context) - (u.square().mean().item() + 1) / 2) < 0.1
    assert prior.heldout_loss(StageContext(Latents(u), Latents(u[:0]), None, Streams(0))) is None


def test_a_large_space_of_maps_reads_the_generators_features():
    class Walk:
        def __init__(self, batch):
            self.taken = []

        def context(self):
            from priorkit.core import Context

            zero = torch.zeros(2 if not self.taken else len(self.taken[0]), *LAYOUT.shapes[len(self.taken)])
            features = None if not self.taken else self.taken[-1].float().repeat(1, 2, 2, 2)
            return Context(zero, zero + 1, features)

        def take(self, z):
            self.taken.append(z)

        def take_noise(self, u):
            self.take(u)

    LAYOUT = Layout(((4, 4, 4), (4, 8, 8)))
    net = {"width": 8, "channels": 4, "depth": 1}
    prior = FlowMatchingPrior(FlowMatchingSettings(net=net, density_steps=2), LatentSpace(LAYOUT, lambda u: u, Walk)).eval()
    assert prior.context == "both" and prior.beside == {"moments", "features"}
    for parameter in prior.nets.parameters():
        nn.init.normal_(parameter, std=0.2, generator=seeded(1))
    u = points(3, 320).float()
    with torch.no_grad():
        terms = prior.layer_log_ratio(u)
    assert terms.shape == (3, 2) and terms.isfinite().all() and (terms != 0).all()
    assert prior.draw(3, Sampling(None, seeded(8))).u.shape == (3, 320)
