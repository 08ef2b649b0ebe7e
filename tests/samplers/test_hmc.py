"""Hamiltonian Monte Carlo: what the leapfrog keeps exactly, and chains against known moments."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from priorkit_mcmc import Hmc, HmcSettings, Mala, MalaSettings
from scipy import stats

from priorkit.mcmc import State, drift, integrate, state_at


def hmc(**options):
    return Hmc(HmcSettings(**{"choose": "fixed", **options}))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def standard(u):
    return -0.5 * u.square().sum(1)


def quartic(u):
    return -0.25 * u.pow(4).sum(1) - 0.5 * (u[:, 0] * u[:, 1])


def bimodal(u):
    """0.3 N(-1.5, 0.7) + 0.7 N(1, 0.5), unnormalised, for u (B, 1)."""
    left = math.log(0.3 / 0.7) - 0.5 * ((u + 1.5) / 0.7).square()
    right = math.log(0.7 / 0.5) - 0.5 * ((u - 1.0) / 0.5).square()
    return torch.logaddexp(left, right).sum(1)


def following(log_prob, u, momentum, time, steps):
    return leapfrog(partial(state_at, log_prob), u, momentum, torch.tensor(time, dtype=u.dtype), steps)


def leapfrog(evaluate, u, momentum, time, steps):
    return integrate(evaluate, drift(time), time, evaluate(u), momentum, steps)


def test_the_leapfrog_goes_back_where_it_came_from():
    u, momentum = torch.randn(2, 50, 4, generator=seeded(0), dtype=torch.float64)
    end, last = following(quartic, u, momentum, 0.15, 12)
    again, first = following(quartic, end.u, -last, 0.15, 12)
    assert (end.u - u).norm(dim=1).min() > 0.1
    assert torch.allclose(again.u, u, atol=1e-10) and torch.allclose(-first, momentum, atol=1e-10)


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_the_leapfrog_keeps_volume_and_the_symplectic_form(steps):
    """The Jacobian J of (u, v) -> (u', v') in two dimensions has determinant 1 and J^T W J = W."""

    def field(u):
        return State(u, quartic(u), -u.pow(3) - 0.5 * u.flip(1))

    def moved(point):
        u, momentum = point[None, :2], point[None, 2:]
        end, last = leapfrog(field, u, momentum, torch.tensor(0.3, dtype=torch.float64), steps)
        return torch.cat([end.u[0], last[0]])

    form = torch.kron(torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), torch.eye(2)).double()
    for point in torch.randn(5, 4, generator=seeded(1), dtype=torch.float64):
        jacobian = torch.autograd.functional.jacobian(moved, point)
        assert torch.linalg.det(jacobian).item() == pytest.approx(1.0, abs=1e-9)
        assert torch.allclose(jacobian.T @ form @ jacobian, form, atol=1e-9)
        assert (jacobian - torch.eye(4)).abs().max() > 0.1


def test_the_leapfrog_s_energy_error_is_of_second_order():
    u, momentum = torch.randn(2, 200, 3, generator=seeded(2), dtype=torch.float64)

    def error(steps):
        end, last = following(quartic, u, momentum, 1.0 / steps, steps)
        before, after = (momentum.square().sum(1) / 2 - quartic(u)), last.square().sum(1) / 2 - end.value
        return (after - before).square().mean().sqrt().item()

    # Halving the time quarters the error; terms of fourth order are below 2 % at these steps.
    assert error(40) / error(80) == pytest.approx(4.0, rel=0.05)


def test_harmonic_motion_is_the_known_rotation():
    """On N(0, 1) the leapfrog is a rotation by cos w = 1 - t^2 / 2 in (u, v / sqrt(1 - t^2 / 4))."""
    time, steps = 0.5, 7
    u, momentum = torch.randn(2, 30, 1, generator=seeded(3), dtype=torch.float64)
    end, _ = following(standard, u, momentum, time, steps)
    angle, stretch = math.acos(1 - time**2 / 2) * steps, math.sqrt(1 - time**2 / 4)
    assert torch.allclose(end.u, u * math.cos(angle) + momentum / stretch * math.sin(angle), atol=1e-12)


def test_one_leapfrog_step_is_mala():
    start = torch.randn(200, 3, generator=seeded(4), dtype=torch.float64)
    ours = hmc(steps=12, leapfrog_steps=1, jitter=0.0, step_size=0.5).run(quartic, start, generator=seeded(5))
    theirs = Mala(MalaSettings(choose="fixed", steps=12, step_size=0.5)).run(quartic, start, generator=seeded(5))
    assert torch.allclose(ours.u, theirs.u, atol=1e-9) and ours.calls == theirs.calls == 13
    for name, figures in theirs.diagnostics.items():
        assert torch.allclose(ours.diagnostics[name], figures, atol=1e-5), name
    assert theirs.diagnostics["acceptance"].min() < 0.95


@pytest.mark.parametrize("jitter", [0.0, 0.3])
def test_correlated_gaussian_has_its_moments(jitter):
    precision = torch.tensor([[2.0, 0.8, 0.0], [0.8, 1.0, -0.3], [0.0, -0.3, 1.5]])
    chain = hmc(steps=25, leapfrog_steps=2, step_size=0.6, jitter=jitter).run(
        lambda u: -0.5 * torch.einsum("bi,ij,bj->b", u - 1, precision, u - 1), torch.zeros(20_000, 3), generator=seeded(6)
    )
    exact = torch.linalg.inv(precision)
    # Entries up to 1.7 from 20,000 chains: error 1.7 sqrt(2 / 20000) = 0.017; four of them.  Accepting all would miss.
    assert torch.allclose(chain.u.T.cov(), exact, atol=0.07)
    assert torch.allclose(chain.u.mean(0), torch.ones(3), atol=4 * 1.7**0.5 / 20_000**0.5)
    assert chain.diagnostics["acceptance"].mean() < 0.97


def test_a_fixed_time_can_go_round_in_a_circle_and_the_jitter_ends_that():
    """On N(0, 1) three leapfrog steps of time 1 turn by 3 acos(1/2) = pi: u becomes -u, whatever the momentum."""
    start = torch.full((4_000, 1), 2.0, dtype=torch.float64)
    options = {"steps": 40, "leapfrog_steps": 3, "step_size": 1.0}
    stuck = hmc(**options, jitter=0.0).run(standard, start, generator=seeded(24))
    assert torch.allclose(stuck.u, start, atol=1e-9) and stuck.diagnostics["acceptance"].min() > 1 - 1e-6
    free = hmc(**options, jitter=0.2).run(standard, start, generator=seeded(24))
    # 4,000 chains: error of the mean 0.016, of the variance 0.022; four of them.
    assert free.u.mean().item() == pytest.approx(0.0, abs=0.064)
    assert free.u.var().item() == pytest.approx(1.0, abs=0.09)


def test_without_the_correction_the_leapfrog_is_biased():
    """Guards the test above: at a step of this size the uncorrected chain on N(0, 1) has variance 1 / (1 - s / 4)."""
    u = torch.zeros(20_000, 1)
    generator = seeded(7)
    for _ in range(25):
        u = following(standard, u, torch.randn(u.shape, generator=generator), 1.2, 3)[0].u
    assert u.var().item() == pytest.approx(1 / (1 - 1.2**2 / 4), rel=0.05)
    corrected = hmc(steps=25, leapfrog_steps=3, step_size=1.2**2, jitter=0.0).run(
        standard, torch.zeros(20_000, 1), generator=generator
    )
    assert corrected.u.var().item() == pytest.approx(1.0, rel=4 * (2 / 20_000) ** 0.5)


def test_mixture_by_kolmogorov_smirnov():
    chain = hmc(steps=60, leapfrog_steps=4, step_size=0.3).run(bimodal, torch.zeros(3_000, 1), generator=seeded(8))
    exact = lambda t: 0.3 * stats.norm.cdf(t, -1.5, 0.7) + 0.7 * stats.norm.cdf(t, 1.0, 0.5)  # noqa: E731
    assert stats.kstest(chain.u[:, 0].numpy(), exact).pvalue > 1e-3


def test_mixture_stays_stationary_in_one_step():
    generator = seeded(9)
    left = torch.rand(40_000, 1, generator=generator) < 0.3
    noise = torch.randn(40_000, 1, generator=generator)
    start = torch.where(left, -1.5 + 0.7 * noise, 1.0 + 0.5 * noise)
    moved = hmc(steps=1, leapfrog_steps=3, step_size=0.6).run(bimodal, start, generator=generator).u[:, 0]
    exact = lambda t: 0.3 * stats.norm.cdf(t, -1.5, 0.7) + 0.7 * stats.norm.cdf(t, 1.0, 0.5)  # noqa: E731
    assert stats.kstest(moved.numpy(), exact).pvalue > 1e-3
    unadjusted = following(bimodal, start, torch.randn(40_000, 1, generator=generator), 0.6**0.5, 3)[0].u
    assert stats.kstest(unadjusted[:, 0].numpy(), exact).pvalue < 1e-6


def test_acceptance_goes_to_one_as_the_step_goes_to_zero():
    """The refused share is of the energy error's order: s^2 for the mean over a stationary start."""
    start = torch.randn(2_000, 10, generator=seeded(10), dtype=torch.float64)
    refused = []
    for size in (0.4, 0.1, 0.025, 1e-4):
        chain = hmc(steps=2, leapfrog_steps=4, step_size=size, jitter=0.0).run(standard, start, generator=seeded(11))
        refused.append(1 - chain.diagnostics["acceptance"].mean().item())
    assert refused[0] > refused[1] > refused[2] > refused[3]
    assert refused[3] < 1e-4


def test_a_slow_loop_over_rows_gives_the_same_chain():
    """One row at a time in double precision, the momentum's half steps written out, with the same random numbers."""
    size, jitter, leaps, steps, rows, dim = 0.4, 0.3, 4, 5, 6, 3
    start = torch.randn(rows, dim, generator=seeded(12), dtype=torch.float64)
    sampler = hmc(steps=steps, leapfrog_steps=leaps, step_size=size, jitter=jitter)
    chain = sampler.run(quartic, start, generator=seeded(13))
    numbers, drawn = seeded(13), []
    for _ in range(steps):
        momentum = torch.empty(rows, dim, dtype=torch.float64).normal_(generator=numbers)
        time = torch.empty(rows, 1, dtype=torch.float64).uniform_(1 - jitter, 1 + jitter, generator=numbers) * size**0.5
        drawn.append((momentum, time, torch.rand(rows, generator=numbers, dtype=torch.float64)))

    def gradient(u):
        return torch.stack([-(u[0] ** 3) - u[1] / 2, -(u[1] ** 3) - u[0] / 2, -(u[2] ** 3)])

    for row in range(rows):
        u = start[row]
        for momentum, time, chance in drawn:
            place, speed, t = u, momentum[row], time[row].item()
            for _ in range(leaps):
                speed = speed + t / 2 * gradient(place)
                place = place + t * speed
                speed = speed + t / 2 * gradient(place)
            change = quartic(place[None]) - quartic(u[None]) + (momentum[row].square().sum() - speed.square().sum()) / 2
            if math.log(chance[row].item()) < change.item():
                u = place
        assert torch.allclose(chain.u[row], u, atol=1e-10)


def test_every_leapfrog_step_is_one_gradient():
    seen = []
    chain = hmc(steps=6, leapfrog_steps=7).run(lambda u: seen.append(len(u)) or standard(u), torch.zeros(3, 2))
    assert chain.calls == len(seen) == 43


def test_a_long_trajectory_moves_further_than_mala_for_the_same_gradients():
    """On a Gaussian with one long axis (standard deviation 20), from its centre: mean squares after 200 gradients."""
    scales = torch.tensor([1.0] * 9 + [20.0])
    log_prob = lambda u: standard(u / scales)  # noqa: E731
    start = torch.randn(500, 10, generator=seeded(14)) * torch.tensor([1.0] * 9 + [0.0])
    ours = hmc(steps=10, leapfrog_steps=20, step_size=0.5).run(log_prob, start, generator=seeded(15))
    theirs = Mala(MalaSettings(choose="fixed", steps=200, step_size=0.5)).run(log_prob, start, generator=seeded(15))
    assert ours.calls == theirs.calls
    assert ours.u[:, 9].std() > 1.3 * theirs.u[:, 9].std()


@pytest.mark.parametrize("initial", [1e-3, 0.2, 5.0])
def test_tuned_acceptance_is_the_target(initial):
    scales = torch.linspace(0.2, 2, 30)
    start = torch.randn(300, 30, generator=seeded(16)) * scales
    log_prob = lambda u: standard(u / scales)  # noqa: E731
    sampler = hmc(choose="acceptance", step_size=initial)
    tuned = sampler.tuned(log_prob, start, generator=seeded(17))
    chain = tuned.run(log_prob, start, generator=seeded(18))
    # Dual averaging over 50 steps; a few percent is what its own noise leaves.
    assert chain.diagnostics["acceptance"].mean().item() == pytest.approx(0.8, abs=0.06)
    assert tuned.settings.choose == "fixed" and tuned.tuned(log_prob, start) is tuned


def test_tuning_survives_a_broken_density():
    tuned = hmc(choose="acceptance", step_size=0.07).tuned(lambda u: (u * torch.nan).sum(1), torch.ones(3, 2))
    assert math.isfinite(tuned.settings.step_size) and tuned.settings.step_size > 0


def test_non_finite_ends_are_refused_and_non_finite_starts_show():
    """The density is 0 for u > 1; beyond, its logarithm is nan."""
    log_prob = lambda u: -0.5 * u.square().sum(1) + (1 - u).sqrt().mul(0).sum(1)  # noqa: E731
    start = torch.zeros(400, 1)
    chain = hmc(steps=30, step_size=0.5).run(log_prob, start, generator=seeded(19))
    assert (chain.u <= 1).all() and torch.equal(chain.diagnostics["finite"], torch.ones(30))
    start[:100] = torch.nan
    chain = hmc(steps=4, step_size=0.5).run(log_prob, start, generator=seeded(19))
    assert torch.equal(chain.diagnostics["finite"], torch.full((4,), 0.75))


def test_a_step_far_too_large_stands_still():
    start = torch.randn(50, 3, generator=seeded(20))
    chain = hmc(steps=3, leapfrog_steps=20, step_size=100.0).run(quartic, start, generator=seeded(21))
    assert torch.equal(chain.u, start) and chain.diagnostics["acceptance"].max() == 0


def test_parameters_are_left_alone():
    network = torch.nn.Linear(3, 1)
    with torch.inference_mode():
        hmc(steps=3).run(lambda u: network(u).squeeze(1) + standard(u), torch.zeros(2, 3))
    assert network.weight.requires_grad and network.weight.grad is None and network.bias.grad is None


@settings(max_examples=20, deadline=None)
@given(
    rows=st.integers(1, 6), dim=st.integers(1, 8), steps=st.integers(1, 5), leaps=st.integers(1, 4), every=st.integers(0, 3)
)
def test_shapes_trajectory_and_determinism(rows, dim, steps, leaps, every):
    start = torch.randn(rows, dim, generator=seeded(22))
    kept = start.clone()
    run = lambda count, keep: hmc(steps=count, leapfrog_steps=leaps).run(  # noqa: E731
        standard, start, generator=seeded(23), keep_every=keep
    )
    chain = run(steps, every)
    assert torch.equal(start, kept) and torch.equal(chain.u, run(steps, every).u) and not chain.u.requires_grad
    assert chain.calls == 1 + steps * leaps
    assert all(figures.shape == (steps,) for figures in chain.diagnostics.values())
    if not every:
        assert chain.trajectory is None
        return
    assert chain.trajectory.shape == (1 + steps // every, rows, dim)
    for k in range(1, len(chain.trajectory)):
        assert torch.equal(chain.trajectory[k], run(k * every, 0).u)
