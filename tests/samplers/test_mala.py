"""MALA against exact laws and a slow, separate implementation of its acceptance."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from priorkit_mcmc import Mala, MalaSettings
from scipy import integrate, stats


def mala(**options):
    return Mala(MalaSettings(**{"choose": "fixed", **options}))


def standard(u):
    return -0.5 * u.square().sum(1)


def bimodal(u):
    """0.3 N(-1.5, 0.7) + 0.7 N(1, 0.5), unnormalised, for u (B, 1)."""
    left = math.log(0.3 / 0.7) - 0.5 * ((u + 1.5) / 0.7).square()
    right = math.log(0.7 / 0.5) - 0.5 * ((u - 1.0) / 0.5).square()
    return torch.logaddexp(left, right).sum(1)


def test_gaussian_is_exact_where_langevin_is_biased():
    """The unadjusted chain at this step size is off by the Lyapunov equation; the adjusted one has no bias."""
    precision = torch.tensor([[2.0, 0.8], [0.8, 1.0]])
    chain = mala(steps=60, step_size=0.8).run(
        lambda u: -0.5 * torch.einsum("bi,ij,bj->b", u, precision, u),
        torch.zeros(30_000, 2),
        generator=torch.Generator().manual_seed(0),
    )
    # Entries up to 1.5 from 30,000 chains: error 1.5 sqrt(2 / 30000) = 0.012; four of them.
    assert torch.allclose(chain.u.T.cov(), torch.linalg.inv(precision), atol=0.05)
    assert torch.allclose(chain.u.mean(0), torch.zeros(2), atol=4 * 1.5**0.5 / 30_000**0.5)
    assert chain.calls == 61


def test_bimodal_density_by_kolmogorov_smirnov():
    chain = mala(steps=200, step_size=0.6).run(bimodal, torch.zeros(3_000, 1), generator=torch.Generator().manual_seed(1))
    exact = lambda t: 0.3 * stats.norm.cdf(t, -1.5, 0.7) + 0.7 * stats.norm.cdf(t, 1.0, 0.5)  # noqa: E731
    assert stats.kstest(chain.u[:, 0].numpy(), exact).pvalue > 1e-3


def test_bimodal_density_stays_stationary_in_one_step():
    """From exact samples one adjusted step keeps the law; dropping the adjustment would not (KS sees it)."""
    generator = torch.Generator().manual_seed(2)
    left = torch.rand(40_000, 1, generator=generator) < 0.3
    noise = torch.randn(40_000, 1, generator=generator)
    start = torch.where(left, -1.5 + 0.7 * noise, 1.0 + 0.5 * noise)
    moved = mala(steps=1, step_size=0.8).run(bimodal, start, generator=generator).u[:, 0]
    exact = lambda t: 0.3 * stats.norm.cdf(t, -1.5, 0.7) + 0.7 * stats.norm.cdf(t, 1.0, 0.5)  # noqa: E731
    assert stats.kstest(moved.numpy(), exact).pvalue > 1e-3
    gradient = torch.autograd.functional.jacobian(lambda u: bimodal(u).sum(), start)
    unadjusted = start + 0.4 * gradient + 0.8**0.5 * torch.randn(40_000, 1, generator=generator)
    assert stats.kstest(unadjusted[:, 0].numpy(), exact).pvalue < 1e-6


def test_acceptance_is_the_integral_over_states_and_noises():
    """E min(1, alpha) on N(0, 1) by quadrature over (u, e), written out from the densities of the two moves."""
    size = 1.5
    u, e = np.meshgrid(np.linspace(-7, 7, 701), np.linspace(-7, 7, 701))
    drift = lambda state: (1 - size / 2) * state  # noqa: E731
    v = drift(u) + size**0.5 * e
    forth, back = stats.norm.logpdf(v, drift(u), size**0.5), stats.norm.logpdf(u, drift(v), size**0.5)
    alpha = np.exp(np.minimum(0.0, stats.norm.logpdf(v) - stats.norm.logpdf(u) + back - forth))
    expected = (alpha * stats.norm.pdf(u) * stats.norm.pdf(e)).sum() * 0.02**2
    start = torch.randn(100_000, 1, generator=torch.Generator().manual_seed(3))
    chain = mala(steps=3, step_size=size).run(standard, start, generator=torch.Generator().manual_seed(4))
    # The chain is stationary, so each step has the same mean; its error is below 0.5 / sqrt(100000) = 0.0016.
    assert chain.diagnostics["acceptance"].numpy() == pytest.approx(expected, abs=0.006)


def test_a_slow_loop_over_rows_gives_the_same_chain():
    """One row at a time, in double precision, with densities written out and the same random numbers."""
    size, steps, rows, dim = 0.7, 6, 5, 3
    log_prob = lambda u: -0.25 * u.pow(4).sum(1) - 0.5 * (u[:, 0] * u[:, 1])  # noqa: E731
    start = torch.randn(rows, dim, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    chain = mala(steps=steps, step_size=size).run(log_prob, start, generator=torch.Generator().manual_seed(6))
    numbers = torch.Generator().manual_seed(6)
    noises, chances = [], []
    for _ in range(steps):
        noises.append(torch.empty(rows, dim, dtype=torch.float64).normal_(generator=numbers))
        chances.append(torch.rand(rows, generator=numbers, dtype=torch.float64))

    def gradient(u):
        g = -u.pow(3)
        g[0] -= 0.5 * u[1]
        g[1] -= 0.5 * u[0]
        return g

    def log_move(b, a):
        return -((b - a - size / 2 * gradient(a)) ** 2).sum().item() / (2 * size)

    for row in range(rows):
        u = start[row].clone()
        for noise, chance in zip(noises, chances, strict=True):
            v = u + size / 2 * gradient(u) + size**0.5 * noise[row]
            alpha = (log_prob(v[None]) - log_prob(u[None])).item() + log_move(u, v) - log_move(v, u)
            if math.log(chance[row].item()) < alpha:
                u = v
        assert torch.allclose(chain.u[row], u, atol=1e-10)


def test_non_finite_proposals_are_refused_and_non_finite_starts_show():
    """The density is 0 for u > 1; beyond, its logarithm is -inf or nan."""
    log_prob = lambda u: -0.5 * u.square().sum(1) + (1 - u).sqrt().mul(0).sum(1)  # noqa: E731
    start = torch.zeros(400, 1)
    chain = mala(steps=50, step_size=1.0).run(log_prob, start, generator=torch.Generator().manual_seed(7))
    assert (chain.u <= 1).all() and torch.equal(chain.diagnostics["finite"], torch.ones(50))
    start[:100] = torch.nan
    chain = mala(steps=4, step_size=1.0).run(log_prob, start, generator=torch.Generator().manual_seed(7))
    assert torch.equal(chain.diagnostics["finite"], torch.full((4,), 0.75))


def test_a_start_outside_the_support_finds_its_way_in():
    log_prob = lambda u: (-0.5 * u.square() + torch.where(u <= 1, 0.0, -torch.inf)).sum(1)  # noqa: E731
    chain = mala(steps=30, step_size=1.0).run(
        log_prob, torch.full((200, 1), 1.5), generator=torch.Generator().manual_seed(7)
    )
    assert (chain.u <= 1).all()
    assert chain.diagnostics["finite"][0] > 0 and chain.diagnostics["finite"][-1] == 1


def test_tuned_acceptance_is_the_target():
    start = torch.randn(300, 30, generator=torch.Generator().manual_seed(8))
    log_prob = lambda u: standard(u / torch.linspace(0.2, 2, 30))  # noqa: E731
    start = start * torch.linspace(0.2, 2, 30)
    for initial in (1e-3, 0.2, 5.0):
        tuned = mala(choose="acceptance", step_size=initial).tuned(
            log_prob, start, generator=torch.Generator().manual_seed(9)
        )
        chain = tuned.run(log_prob, start, generator=torch.Generator().manual_seed(10))
        # Dual averaging over 100 steps; a few percent is what its own noise leaves.
        assert chain.diagnostics["acceptance"].mean().item() == pytest.approx(0.574, abs=0.05)


def test_tuned_displacement_and_fixed():
    start = torch.randn(300, 30, generator=torch.Generator().manual_seed(11))
    tuned = mala(choose="displacement", target=0.1).tuned(standard, start, generator=torch.Generator().manual_seed(12))
    # d^2 = s + s^2 / 4 for N(0, I).
    assert tuned.settings.step_size + tuned.settings.step_size**2 / 4 == pytest.approx(0.01, rel=0.02)
    assert tuned.tuned(standard, start) is tuned


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 6), dim=st.integers(1, 8), steps=st.integers(1, 6), every=st.integers(0, 3))
def test_shapes_trajectory_and_determinism(rows, dim, steps, every):
    start = torch.randn(rows, dim, generator=torch.Generator().manual_seed(13))
    run = lambda count, keep: mala(steps=count, step_size=0.5).run(  # noqa: E731
        standard, start, generator=torch.Generator().manual_seed(14), keep_every=keep
    )
    chain = run(steps, every)
    assert torch.equal(chain.u, run(steps, every).u) and not chain.u.requires_grad
    assert all(figures.shape == (steps,) for figures in chain.diagnostics.values())
    if every:
        assert chain.trajectory.shape == (1 + steps // every, rows, dim)
        for k in range(1, len(chain.trajectory)):
            assert torch.equal(chain.trajectory[k], run(k * every, 0).u)
    else:
        assert chain.trajectory is None


def test_quadrature_reference_normalises():
    """The bimodal test density integrates to a constant: guards the reference above."""
    total = integrate.quad(lambda t: math.exp(bimodal(torch.tensor([[t]], dtype=torch.float64)).item()), -12, 12, limit=200)[
        0
    ]
    assert total == pytest.approx(math.sqrt(2 * math.pi), rel=1e-6)
