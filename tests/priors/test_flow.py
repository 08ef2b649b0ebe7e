"""Flows with random weights: normalised, inverted and differentiated by slow independent means; and a mixture learnt."""

import math
import sys

import pytest
import torch
from flows import WEIGHTS, known, log_density, space
from seeding import seeded

from priorkit.core import Condition, Latents, Sampling, StageContext, Step, Streams
from priorkit.errors import UsageError

pytest.importorskip("zuko", reason="the extra 'flow' is not installed")

from priorkit_flow import FlowPrior, FlowSettings
from priorkit_flow.settings import MAX_AUTOREGRESSIVE, MAX_SPLINE

KINDS = [(transform, structure) for transform in ("spline", "affine") for structure in ("autoregressive", "coupling")]


def made(*sizes, scale=0.0, **options):
    """A flow in double precision whose last layers have random weights of this scale."""
    torch.manual_seed(7)
    prior = FlowPrior(FlowSettings(**{"width": 16, "transforms": 3, **options}), space(*sizes)).double().eval()
    for flow in prior.flows.values() if scale else ():
        for transform in flow.flow.transform.transforms:
            for parameter in transform.hyper[-1].parameters() if hasattr(transform, "hyper") else transform.phi:
                parameter.data.normal_(std=scale)
    return prior


def points(n, dim, seed=1):
    return torch.randn(n, dim, generator=seeded(seed), dtype=torch.float64)


@pytest.mark.parametrize(("transform", "structure"), KINDS)
def test_untrained_it_is_the_gaussian(transform, structure):
    prior, u = made(1, 4, 6, transform=transform, structure=structure), points(20, 11)
    torch.testing.assert_close(prior.log_ratio(u), u.new_zeros(20), rtol=0, atol=1e-12)
    drawn = prior.draw(20, Sampling(None, seeded(2))).u
    torch.testing.assert_close(drawn, prior.standard_normal(20, seeded(2)), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("transform", "structure"), KINDS)
@pytest.mark.parametrize("sizes", [(2,), (1, 1)])
def test_it_integrates_to_one_in_two_dimensions(transform, structure, sizes):
    prior = made(*sizes, transform=transform, structure=structure, scale=0.3)
    axis = torch.linspace(-9, 9, 361, dtype=torch.float64)
    with torch.no_grad():
        log_density = prior.log_prob(torch.cartesian_prod(axis, axis)) - math.log(2 * math.pi)
    assert abs(float(log_density.exp().sum()) * 0.05**2 - 1) < 3e-3
    assert bool((prior.log_ratio(points(50, 2)).abs() > 0.1).any())


@pytest.mark.parametrize(("transform", "structure"), KINDS)
def test_the_log_volume_is_that_of_the_jacobian(transform, structure):
    """By automatic differentiation of the whole map u -> noise of one layer of 16 latents."""
    prior, u = made(16, transform=transform, structure=structure, scale=0.5), points(4, 16)
    flow = prior.flows["0"]
    for row in u:
        jacobian = torch.autograd.functional.jacobian(lambda x: flow.noise(x[None], None)[0][0], row)
        noise, _ = flow.noise(row[None], None)
        expected = torch.linalg.slogdet(jacobian)[1] + 0.5 * (row.square() - noise[0].square()).sum()
        torch.testing.assert_close(prior.log_ratio(row[None])[0], expected)


@pytest.mark.parametrize(("transform", "structure"), KINDS)
def test_the_noise_of_a_draw_is_what_it_was_drawn_from(transform, structure):
    prior = made(3, 5, transform=transform, structure=structure, scale=0.5)
    u = prior.draw(30, Sampling(None, seeded(3))).u
    top, _ = prior.flows["0"].noise(u[:, :3], None)
    lower, _ = prior.flows["1"].noise(u[:, 3:], prior.flows["1"].given(u[:, :3]))
    torch.testing.assert_close(torch.cat([top, lower], 1), prior.standard_normal(30, seeded(3)), rtol=1e-6, atol=1e-6)


def mixture(n, dim, seed):
    """Points of the known mixture, (n, D)."""
    means, covariances = known(dim)
    chosen = torch.multinomial(torch.tensor(WEIGHTS), n, replacement=True, generator=seeded(seed))
    factors = torch.linalg.cholesky(covariances)
    return means[chosen] + (factors[chosen] @ points(n, dim, seed)[:, :, None])[..., 0]


@pytest.mark.parametrize(("transform", "structure"), KINDS)
def test_a_known_mixture_in_16_dimensions_is_weighed_as_its_density_says(transform, structure):
    """E_q[h p / q] is E_p[h] for a mixture q of N(0, I) and the flow's draws p, with a bounded h."""
    prior, n = made(4, 12, transform=transform, structure=structure, scale=0.2, transforms=2), 2_000
    u = torch.cat([points(n, 16, 4), prior.draw(n, Sampling(None, seeded(5))).u])
    with torch.no_grad():
        log_ratio = prior.log_ratio(u)
    # Both halves are of the mixture (N(0, I) + p) / 2, so that its ratio to p is known and bounded by 2.
    weight = 2 * torch.sigmoid(log_ratio)
    means, covariances = known(16)
    h = torch.tanh(log_density(u, means, covariances) / 4)
    drawn = prior.draw(n, Sampling(None, seeded(6))).u
    exact = torch.tanh(log_density(drawn, means, covariances) / 4)
    for left, right in ((weight, torch.ones(n).double()), (weight * h, exact)):
        error = (left.var() / len(left) + right.var() / n) ** 0.5
        assert abs(float(left.mean() - right.mean())) < 5 * float(error)


def test_of_a_known_mixture_in_16_dimensions_it_learns_most_and_never_more_than_there_is():
    """The gain over N(0, I) on new points of the mixture is below the exact one, by at most a third of it."""
    prior = made(4, 12, width=32, transforms=2, bins=4).float().train()
    (objective,) = prior.objectives()
    optimiser = torch.optim.Adam(objective.parameters, lr=1e-2)
    for step in range(80):
        optimiser.zero_grad()
        objective.loss(Latents(mixture(200, 16, 100 + step).float()), Step(step, 80, seeded(step))).value.backward()
        optimiser.step()
    u = mixture(4_000, 16, 8)
    exact = log_density(u, *known(16))
    with torch.no_grad():
        gain = prior.eval().double().log_ratio(u)
    missing = exact - gain
    assert -4 * float(missing.std()) / len(u) ** 0.5 < float(missing.mean()) < float(exact.mean()) / 3


def test_below_fixed_layers_draws_are_exact():
    """The lower layers' noise is N(0, I) under the fixed upper ones, as drawn."""
    prior, top = made(3, 5, scale=0.5), points(30, 3, 9)
    u = prior.draw(30, Sampling(None, seeded(3), condition=Condition(top=top))).u
    assert torch.equal(u[:, :3], top)
    lower, _ = prior.flows["1"].noise(u[:, 3:], prior.flows["1"].given(top))
    torch.testing.assert_close(lower, prior.standard_normal(30, seeded(3))[:, 3:], rtol=1e-6, atol=1e-6)


def test_large_layers_keep_the_gaussian_unless_they_are_asked_for():
    u = points(5, 603)
    assert made(3, 600, context="upper").chosen == (0,)
    assert torch.equal(made(3, 600, context="upper", scale=0.5).layer_log_ratio(u)[:, 1], u.new_zeros(5))
    assert made(3, 600, layers="all", context="upper", width=4, transforms=2).chosen == (0, 1)
    assert made(600, 700, context="upper", width=4, transforms=2).chosen == (0, 1)


def test_the_kind_of_flow_follows_the_layer_s_size():
    settings = FlowSettings()
    assert settings.splines(MAX_SPLINE) and not settings.splines(MAX_SPLINE + 1)
    assert settings.autoregressive(MAX_AUTOREGRESSIVE) and not settings.autoregressive(MAX_AUTOREGRESSIVE + 1)


def test_the_held_out_loss_is_the_negative_gain():
    prior, u = made(2, 3, scale=0.5), points(50, 5)
    context = StageContext(Latents(u), Latents(u), None, Streams(0))
    figures = prior.end_stage(1, context)
    with torch.no_grad():
        layers = prior.layer_log_ratio(u).mean(0)
    assert figures == pytest.approx(
        {"heldout_gain": float(layers.sum()), **{f"heldout_gain_layer_{i}": float(layers[i]) for i in (0, 1)}}
    )
    assert prior.heldout_loss(context) == pytest.approx(-figures["heldout_gain"])


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "zuko", None)
    with pytest.raises(UsageError, match=r"pip install 'priorkit\[flow\]'"):
        FlowPrior(FlowSettings(), space(2))
