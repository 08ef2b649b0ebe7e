"""Annealed importance sampling against normalisers that are known; benchmarks/ais.py is the long version."""

import pytest
import torch
from ais import hard_board, mixture, smooth_board
from seeding import seeded

from priorkit.errors import UsageError
from priorkit.mcmc.gaussian_hmc import evaluate, transition
from priorkit.metrics import temperatures
from priorkit.metrics.annealed import _normal_points, annealed_log_z
from priorkit.metrics.temperatures import Temperatures, affordable


def test_a_constant_ratio_is_its_own_normaliser():
    found = annealed_log_z(lambda u: u.new_full((len(u),), 1.5), 7, chains=32, generator=seeded(0))
    assert found.value == pytest.approx(1.5, abs=1e-6)
    assert found.high - found.low < 1e-6
    assert found.acceptance == pytest.approx(1)


@pytest.mark.parametrize("dim", [1, 20])
def test_a_linear_ratio_shifts_the_gaussian(dim):
    """exp(a . u) N(u; 0, I) integrates to exp(|a|^2 / 2)."""
    slope = torch.full((dim,), 1.5 / dim**0.5)
    found = annealed_log_z(lambda u: u @ slope, dim, chains=256, generator=seeded(1))
    assert found.low <= 1.125 <= found.high
    assert found.value == pytest.approx(1.125, abs=0.1)


@pytest.mark.parametrize("problem", [smooth_board(), mixture(2), mixture(8)], ids=lambda problem: problem.name)
def test_the_truth_lies_in_the_interval(problem):
    """Of four 95 % intervals at most one misses (two would have a chance of 1.4 %); the error bound is that of the issue."""
    found = [annealed_log_z(problem.log_ratio, problem.dim, generator=seeded(seed)) for seed in range(4)]
    assert sum(one.low <= problem.truth <= one.high for one in found) >= 3
    assert sum(abs(one.value - problem.truth) for one in found) / 4 <= 0.05


def test_thirty_two_dimensions():
    problem = mixture(32)
    found = annealed_log_z(problem.log_ratio, 32, chains=256, generator=seeded(0))
    assert found.low <= problem.truth <= found.high
    assert abs(found.value - problem.truth) <= 0.2


def test_regions_without_mass():
    problem = hard_board()
    found = annealed_log_z(problem.log_ratio, 2, generator=seeded(0))
    assert found.low <= problem.truth <= found.high
    assert found.value == pytest.approx(problem.truth, abs=0.1)


def linear(dim):
    """f(u) = u_1 + ... + u_dim, with log Z = dim / 2; a matrix product, so that its operations are counted."""
    ones = torch.ones(dim, 1)
    return lambda u: (u @ ones)[:, 0]


def test_the_two_ways_bound_the_truth_on_average():
    """E[up] <= log Z <= E[down] where the way down starts at exact draws; 15 repeats leave 0.04 nat of noise."""
    found = []
    for seed in range(15):
        exact = 1 + torch.randn(32, 10, generator=seeded(seed))
        generator = seeded(100 + seed)
        found.append(annealed_log_z(linear(10), 10, chains=32, samples=exact, generator=generator))
    assert sum(one.lower for one in found) / 15 < 5.0 + 0.1
    assert sum(one.upper for one in found) / 15 > 5.0 - 0.1
    assert all(one.exact for one in found)


def test_the_interval_holds_both_bounds_with_their_errors():
    """Each bound has an interval; the whole one contains both, whichever bound lies above."""
    for seed in range(4):
        found = annealed_log_z(linear(3), 3, chains=32, generator=seeded(seed))
        assert found.low < min(found.lower, found.upper) <= found.value <= max(found.lower, found.upper) < found.high


def test_chains_move_at_the_temperature_that_they_were_resampled_for(monkeypatch):
    seen = []

    def recorded(f, state, beta, angle, generator):
        seen.append(beta)
        return transition(f, state, beta, angle, generator)

    monkeypatch.setattr(temperatures, "transition", recorded)
    pilot = temperatures.pilot_temperatures(lambda u: 3 * u.sum(1), torch.randn(64, 3, generator=seeded(0)), 1e9, seeded(1))
    assert len(pilot.betas) > 2
    assert seen == [beta for beta in pilot.betas[1:] for _ in range(temperatures.TUNING)]


def test_systematic_resampling_rounds_up_or_down():
    weights = torch.tensor([0.1, 0.0, 0.35, 0.3, 0.25])
    for seed in range(20):
        counts = torch.bincount(temperatures.resampled_rows(weights.log(), 40, seeded(seed)), minlength=5)
        assert ((counts - 40 * weights).abs() < 1).all() and counts.sum() == 40


def test_the_budget_cuts_the_ladder_then_the_chains_then_refuses():
    pilot = Temperatures([0.0, 0.5, 1.0], [0.5, 0.5], variance=1.0)
    whole = 2 * 3 * 2  # two ways of three gradients at two temperatures
    assert affordable(pilot, 100, 1e9) == (4, 100)
    assert affordable(pilot, 100, whole * 250) == (2, 100)
    assert affordable(pilot, 100, whole * 50) == (1, 50)
    with pytest.raises(UsageError, match="gradients"):
        affordable(pilot, 100, whole * 20)
    with pytest.raises(UsageError, match="budget"):
        annealed_log_z(linear(10), 10, budget=1e4, generator=seeded(0))


def test_what_is_no_density_is_refused():
    with pytest.raises(UsageError, match="not finite"):
        annealed_log_z(lambda u: u[:, 0] * torch.nan, 2, generator=seeded(0))
    with pytest.raises(UsageError, match="support"):
        annealed_log_z(lambda u: u.new_full((len(u),), -torch.inf), 2, generator=seeded(0))
    with pytest.raises(UsageError, match="chains"):
        annealed_log_z(lambda u: u[:, 0], 2, chains=2, generator=seeded(0))


def test_the_transition_leaves_its_density_alone():
    """Exact draws of exp(2 |u|) N(u) / Z on the line stay so: mean, square and fourth power within 4 standard errors."""
    generator, count = seeded(3), 40_000
    sign = torch.randint(2, (count, 1), generator=generator) * 2.0 - 1
    # |u| under exp(2 |u|) N(u) is a N(2, 1) that is positive.
    size = 2 + torch.randn(4 * count, 1, generator=generator)
    start = sign * size[size > 0][:count, None]
    state = evaluate(lambda u: 2 * u[:, 0].abs(), start)
    accepted = []
    for _ in range(5):
        state, acceptance = transition(lambda u: 2 * u[:, 0].abs(), state, 1.0, 0.5, generator)
        accepted.append(acceptance.mean())
    assert 0.5 < torch.stack(accepted).mean() < 1
    for power in (1, 2, 4):
        before, after = start.double() ** power, state.u.double() ** power
        assert abs(before.mean() - after.mean()) < 4 * (2 * before.var() / count) ** 0.5


def test_under_the_gaussian_alone_every_move_is_taken():
    f = lambda u: u.new_zeros(len(u))  # noqa: E731
    state, acceptance = transition(f, evaluate(f, torch.randn(50, 300, generator=seeded(0))), 1.0, 0.5, seeded(1))
    assert torch.allclose(acceptance, torch.ones_like(acceptance), atol=1e-3)  # float32 sums of 300 squares
    assert state.u.shape == (50, 300)


def test_starts_are_standard_normal_in_each_coordinate_and_follow_the_seed():
    """Of a scrambled net of 4,096 points; moments of one are far closer than those of independent points, 5 / 64."""
    one, again, other = (_normal_points(4_096, 3, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert one.mean(0).abs().max() < 0.01 and (one.var(0) - 1).abs().max() < 0.02
