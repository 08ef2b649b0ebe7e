"""Langevin against the exact law of the biased chain; what a chain reports."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from priorkit_mcmc import Langevin, LangevinSettings
from torch import nn


def langevin(**options):
    return Langevin(LangevinSettings(**options))


def gaussian(precision):
    return lambda u: -0.5 * torch.einsum("bi,ij,bj->b", u, precision, u)


def standard(u):
    return -0.5 * u.square().sum(1)


@pytest.mark.parametrize("size", [0.1, 0.5, 1.5])
def test_standard_normal_has_the_variance_of_the_autoregression(size):
    """u' = (1 - s/2) u + sqrt(s) e has variance s / (1 - (1 - s/2)^2) = 1 / (1 - s/4)."""
    expected = 1 / (1 - size / 4)
    start = torch.randn(20_000, 4, generator=torch.Generator().manual_seed(0)) * expected**0.5
    u = langevin(steps=30, step_size=size).run(standard, start, generator=torch.Generator().manual_seed(1)).u
    # 80,000 independent coordinates: the relative error of a variance is sqrt(2 / 80000) = 0.005; four of them.
    assert u.var().item() == pytest.approx(expected, rel=0.02)
    assert u.mean().item() == pytest.approx(0.0, abs=4 * expected**0.5 / 80_000**0.5)


def test_from_a_point_the_variance_follows_the_recursion():
    """Var_t = (1 - s/2)^2 Var_{t-1} + s, from 0; the mean shrinks by 1 - s/2 a step."""
    size, steps, variance = 0.3, 5, 0.0
    for _ in range(steps):
        variance = (1 - size / 2) ** 2 * variance + size
    chain = langevin(steps=steps, step_size=size).run(
        standard, torch.full((50_000, 1), 2.0), generator=torch.Generator().manual_seed(2)
    )
    assert chain.u.var().item() == pytest.approx(variance, rel=4 * (2 / 50_000) ** 0.5)
    assert chain.u.mean().item() == pytest.approx(2 * (1 - size / 2) ** steps, abs=4 * (variance / 50_000) ** 0.5)


def test_correlated_gaussian_obeys_the_lyapunov_equation():
    """With A = I - s P / 2 the stationary covariance C solves C = A C A + s I."""
    size = 0.4
    precision = torch.tensor([[2.0, 0.8, 0.0], [0.8, 1.0, -0.3], [0.0, -0.3, 1.5]])
    matrix = (torch.eye(3) - size * precision / 2).double()
    expected = torch.zeros(3, 3).double()
    for _ in range(500):
        expected = matrix @ expected @ matrix + size * torch.eye(3).double()
    root = torch.linalg.cholesky(expected).float()
    start = torch.randn(40_000, 3, generator=torch.Generator().manual_seed(3)) @ root.T
    u = langevin(steps=40, step_size=size).run(gaussian(precision), start, generator=torch.Generator().manual_seed(4)).u
    exact = torch.linalg.inv(precision)
    # Entries are O(1): Monte-Carlo error sqrt(2 / 40000) = 0.007 each; the bias to the exact law is far larger.
    assert torch.allclose(u.T.cov(), expected.float(), atol=0.04)
    assert not torch.allclose(u.T.cov(), exact, atol=0.04)


def test_one_step_is_the_formula():
    start = torch.randn(5, 3, generator=torch.Generator().manual_seed(5))
    noise = torch.empty_like(start).normal_(generator=torch.Generator().manual_seed(6))
    chain = langevin(steps=1, step_size=0.2).run(
        lambda u: -u.pow(4).sum(1), start, generator=torch.Generator().manual_seed(6)
    )
    expected = start + 0.1 * (-4 * start**3) + 0.2**0.5 * noise
    assert torch.allclose(chain.u, expected, atol=1e-6)
    assert chain.diagnostics["energy"].item() == pytest.approx(-start.pow(4).sum(1).mean().item(), rel=1e-5)
    assert chain.diagnostics["gradient_norm"].item() == pytest.approx((4 * start**3).norm(dim=1).mean().item(), rel=1e-5)
    assert chain.diagnostics["displacement"].item() == pytest.approx(
        ((expected - start).norm(dim=1) / 3**0.5).mean().item(), rel=1e-5
    )


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 7), dim=st.integers(1, 9), steps=st.integers(1, 7), every=st.integers(0, 4))
def test_shapes_trajectory_and_determinism(rows, dim, steps, every):
    start = torch.randn(rows, dim, generator=torch.Generator().manual_seed(7))
    kept = start.clone()
    sampler = langevin(steps=steps, step_size=0.3)
    first, second = (
        sampler.run(standard, start, generator=torch.Generator().manual_seed(8), keep_every=every) for _ in range(2)
    )
    assert torch.equal(start, kept) and torch.equal(first.u, second.u) and first.calls == steps
    assert first.u.shape == start.shape and not first.u.requires_grad
    assert all(figures.shape == (steps,) for figures in first.diagnostics.values())
    if every == 0:
        assert first.trajectory is None
        return
    assert first.trajectory.shape == (1 + steps // every, rows, dim)
    for k, state in enumerate(first.trajectory):
        short = (
            start
            if k == 0
            else langevin(steps=k * every, step_size=0.3).run(standard, start, generator=torch.Generator().manual_seed(8)).u
        )
        assert torch.equal(state, short)


def test_parameters_are_left_alone():
    network = nn.Linear(3, 1)
    network.bias.requires_grad_(False)
    with torch.inference_mode():
        langevin(steps=3).run(lambda u: network(u).squeeze(1) + standard(u), torch.zeros(2, 3))
    langevin(steps=3, choose="displacement").tuned(lambda u: network(u).squeeze(1) + standard(u), torch.zeros(2, 3))
    assert network.weight.requires_grad and not network.bias.requires_grad
    assert network.weight.grad is None and network.bias.grad is None


def test_non_finite_states_show_and_stay_in_their_row():
    start = torch.zeros(4, 2)
    start[0] = 1e30
    chain = langevin(steps=3).run(lambda u: -u.pow(4).sum(1), start, generator=torch.Generator().manual_seed(9))
    assert torch.equal(chain.diagnostics["finite"], torch.full((3,), 0.75))
    assert chain.u[1:].isfinite().all()


@pytest.mark.parametrize("scale", [0.05, 1.0, 20.0])
def test_tuned_displacement_is_the_target(scale):
    sampler = langevin(choose="displacement", target=0.02 if scale < 1 else 0.3, steps=50)
    log_prob = lambda u: standard(u / scale)  # noqa: E731
    start = scale * torch.randn(500, 20, generator=torch.Generator().manual_seed(10))
    tuned = sampler.tuned(log_prob, start, generator=torch.Generator().manual_seed(11))
    chain = tuned.run(log_prob, start, generator=torch.Generator().manual_seed(12))
    # The diagnostic is a mean of norms, the target a root mean square: they differ by about 1 / (4 D) = 1 %.
    assert chain.diagnostics["displacement"].mean().item() == pytest.approx(sampler.settings.target, rel=0.03)
    assert tuned.settings.choose == "fixed" and tuned.tuned(log_prob, start) is tuned


def test_tuning_survives_a_broken_density():
    start = torch.ones(3, 2)
    tuned = langevin(choose="displacement", step_size=0.07).tuned(lambda u: (u * torch.nan).sum(1), start)
    assert tuned.settings.step_size == 0.07
