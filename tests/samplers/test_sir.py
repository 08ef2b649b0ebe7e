"""SIR against a ratio of two Gaussians, whose weights are known."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from priorkit_mcmc import Sir, SirSettings


def sir(**options):
    return Sir(SirSettings(**options))


def shifted(u):
    """N(0.8, 0.6^2) in each coordinate, unnormalised."""
    return -0.5 * ((u - 0.8) / 0.6).square().sum(1) + 3.0


def test_draws_follow_the_target():
    start = torch.full((8_000, 1), 100.0)
    chain = sir(proposals=400).run(shifted, start, generator=torch.Generator().manual_seed(0))
    # 8,000 draws: error of the mean 0.6 / sqrt(8000) = 0.0067, of the variance 0.36 sqrt(2 / 8000) = 0.0057, plus a bias
    # of order 1 / ESS = 0.005.
    assert chain.u.mean().item() == pytest.approx(0.8, abs=0.035)
    assert chain.u.var().item() == pytest.approx(0.36, abs=0.03)


def test_effective_sample_size_is_the_known_one():
    """E[w]^2 / E[w^2] for w = N(m, v) / N(0, 1): E[w] = 1, E[w^2] = int N(m, v)^2 / N(0, 1)."""
    grid = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
    density = torch.exp(-0.5 * ((grid - 0.8) / 0.6) ** 2) / (0.6 * math.sqrt(2 * math.pi))
    base = torch.exp(-0.5 * grid**2) / math.sqrt(2 * math.pi)
    expected = 1 / torch.trapezoid(density**2 / base, grid).item()
    chain = sir(proposals=5_000).run(shifted, torch.zeros(200, 1), generator=torch.Generator().manual_seed(1))
    assert chain.diagnostics["effective_sample_size"].item() / 5_000 == pytest.approx(expected, rel=0.02)


def test_flat_weights_keep_the_proposals_law():
    chain = sir(proposals=7).run(
        lambda u: -0.5 * u.square().sum(1), torch.zeros(20_000, 2), generator=torch.Generator().manual_seed(2)
    )
    assert chain.diagnostics["effective_sample_size"].item() == pytest.approx(7.0, rel=1e-4)
    assert torch.allclose(chain.u.T.cov(), torch.eye(2), atol=4 * (2 / 20_000) ** 0.5)


def test_chunks_change_memory_and_not_the_law():
    seen = []

    def log_prob(u):
        seen.append(len(u))
        return shifted(u)

    chain = sir(proposals=100, chunk=3_000).run(log_prob, torch.zeros(1_000, 1), generator=torch.Generator().manual_seed(3))
    assert max(seen) <= 3_000 and sum(seen) == 100_000
    assert chain.u.mean().item() == pytest.approx(0.8, abs=0.1)
    assert chain.calls == 100


def test_the_choice_follows_the_weights():
    """Two proposals per row: the larger half-line has odds e^2 to 1 when the pair straddles 0."""
    step = lambda u: 2.0 * (u[:, 0] > 0) - 0.5 * u.square().sum(1)  # noqa: E731
    chain = sir(proposals=2, chunk=50_000).run(step, torch.zeros(50_000, 1), generator=torch.Generator().manual_seed(4))
    odds = math.exp(2)
    expected = 0.25 + 0.5 * odds / (1 + odds)
    assert (chain.u > 0).float().mean().item() == pytest.approx(expected, abs=4 * 0.5 / 50_000**0.5)


def test_broken_densities_weigh_nothing_and_show():
    log_prob = lambda u: torch.where(u[:, 0] > 0, -0.5 * u.square().sum(1), torch.nan)  # noqa: E731
    chain = sir(proposals=50).run(log_prob, torch.zeros(500, 1), generator=torch.Generator().manual_seed(5))
    assert (chain.u > 0).all()
    assert chain.diagnostics["finite"].item() == pytest.approx(0.5, abs=0.02)
    chain = sir(proposals=5).run(
        lambda u: u.sum(1) * torch.nan, torch.zeros(3, 1), generator=torch.Generator().manual_seed(6)
    )
    assert chain.diagnostics["finite"].item() == 0 and chain.diagnostics["effective_sample_size"].item() == 0


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 6), dim=st.integers(1, 6), proposals=st.integers(1, 9), chunk=st.integers(1, 20))
def test_shapes_and_determinism(rows, dim, proposals, chunk):
    run = lambda: sir(proposals=proposals, chunk=chunk).run(  # noqa: E731
        shifted, torch.ones(rows, dim), generator=torch.Generator().manual_seed(7), keep_every=1
    )
    chain = run()
    assert torch.equal(chain.u, run().u) and chain.u.shape == (rows, dim)
    assert torch.equal(chain.trajectory, torch.stack([torch.ones(rows, dim), chain.u]))
    size = chain.diagnostics["effective_sample_size"]
    assert size.shape == (1,) and 0.99 <= size.item() <= proposals * 1.001
    assert chain.diagnostics["energy"].item() == pytest.approx(shifted(chain.u).mean().item(), rel=1e-4, abs=1e-4)
