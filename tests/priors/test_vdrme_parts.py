"""VDRME's schedule, real pairs and entropy estimators against values computed another way."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from priorkit_vdrme.entropy import jsd_information, nearest_neighbour_entropy
from priorkit_vdrme.pairs import real_pairs
from priorkit_vdrme.schedule import Schedule
from seeding import seeded
from torch.distributions import Normal


def test_levels_are_those_of_the_ddpm_schedule():
    """A plain product over 1,000 betas; float32 keeps 7 digits."""
    schedule = Schedule(4)
    assert schedule.times == (0, 250, 500, 749, 999)
    kept, betas = [], np.linspace(1e-4, 0.02, 1000)
    for time in schedule.times:
        product = 1.0
        for beta in betas[: time + 1]:
            product *= 1 - beta
        kept.append(product)
    np.testing.assert_allclose(schedule.signal.square(), kept, rtol=1e-5)
    np.testing.assert_allclose(schedule.noise.square(), 1 - np.array(kept), rtol=1e-5)
    assert schedule.noise[0] == pytest.approx(0.01) and schedule.signal[-1] < 0.01


@given(scales=st.integers(1, 30), spacing=st.sampled_from(["uniform", "quadratic"]))
def test_kernels_lead_from_level_to_level(scales, spacing):
    schedule = Schedule(scales, spacing).double()
    torch.testing.assert_close(schedule.carry * schedule.signal[:-1], schedule.signal[1:], rtol=1e-5, atol=1e-7)
    variance = (schedule.carry * schedule.noise[:-1]).square() + schedule.spread.square()
    torch.testing.assert_close(variance, schedule.noise[1:].square(), rtol=1e-5, atol=1e-7)


def test_too_many_scales_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        Schedule(500, "quadratic")


def test_recovery_is_minus_the_log_of_the_kernel():
    schedule = Schedule(4).double()
    level = torch.arange(8) % 4
    x, above = torch.randn(2, 8, 3, generator=seeded(), dtype=torch.float64)
    kernel = Normal(schedule.carry[level, None] * x, schedule.spread[level, None].expand(8, 3))
    peak = Normal(0.0, schedule.spread[level]).log_prob(torch.zeros(())) * 3
    torch.testing.assert_close(schedule.recovery(x, above, level), peak - kernel.log_prob(above).sum(1))


def test_the_noise_that_was_added_gives_back_the_data():
    schedule = Schedule(4).double()
    level = torch.arange(8) % 4
    x0, noise = torch.randn(2, 8, 3, generator=seeded(), dtype=torch.float64)
    above = schedule.corrupt(x0, level + 1, noise)
    torch.testing.assert_close(schedule.clean(above, noise, level), x0)
    torch.testing.assert_close(schedule.below(above, noise, level), schedule.corrupt(x0, level, noise))


@pytest.mark.parametrize("shared", [False, True])
def test_real_pairs_have_their_joint_covariance(shared):
    """Data of variance v.  Markov: cov(x_i, x_{i+1}) = a_{i+1} var x_i; shared noise: A_i A_{i+1} v + S_i S_{i+1}.
    Marginals are the same.  n = 30,000 a level: a second moment of these variances has a standard error below 0.012."""
    schedule, variance, n = Schedule(3), 0.5, 90_000
    u = math.sqrt(variance) * torch.randn(n, 1, generator=seeded(1))
    pairs = real_pairs(schedule, u, None, seeded(2), shared=shared)
    for i in range(3):
        x, above = pairs.x[pairs.level == i, 0], pairs.above[pairs.level == i, 0]
        marginals = [float(schedule.signal[j] ** 2 * variance + schedule.noise[j] ** 2) for j in (i, i + 1)]
        assert [float(x.var()), float(above.var())] == pytest.approx(marginals, abs=0.05)
        together = schedule.signal[i] * schedule.signal[i + 1] * variance + schedule.noise[i] * schedule.noise[i + 1]
        expected = float(together) if shared else float(schedule.carry[i]) * marginals[0]
        assert float((x * above).mean()) == pytest.approx(expected, abs=0.05)


@given(scale=st.floats(0.01, 100), dim=st.integers(1, 6), count=st.integers(2, 9))
def test_entropy_rises_by_the_log_of_the_scale(scale, dim, count):
    """An identity of the estimator; TINY beside the smallest squared distances limits the precision."""
    draws = torch.randn(3, count, dim, generator=seeded(3), dtype=torch.float64)
    moved = nearest_neighbour_entropy(scale * draws + 2.0)
    expected = nearest_neighbour_entropy(draws) + dim * math.log(scale)
    torch.testing.assert_close(moved, expected, atol=2e-2 if scale < 0.1 else 1e-3, rtol=0)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_entropy_comes_to_a_gaussians(dim):
    """H = D/2 log(2 pi e) + log 0.1 for deviations 0.1, 1, 1.  Two draws see the widest directions (in 2 and 3 dimensions
    they are off by more than a nat); the error falls as they become more.  The averages are known to 0.025: 4 of these."""
    truth = dim / 2 * math.log(2 * math.pi * math.e) + math.log(0.1)
    deviations = torch.tensor([0.1, 1.0, 1.0], dtype=torch.float64)[:dim]
    errors = []
    for count, sets in ((2, 6_000), (30, 300), (400, 20)):
        draws = deviations * torch.randn(sets, count, dim, generator=seeded(4), dtype=torch.float64)
        errors.append(abs(float(nearest_neighbour_entropy(draws).mean()) - truth))
    assert errors[2] < 0.1
    assert dim == 1 or errors[0] > 1 > 0.5 > errors[1] > errors[2] - 0.1


@pytest.mark.parametrize(("narrow", "two", "thirty"), [(1.0, 1.62, 0.25), (0.5, 2.39, 0.36)])
def test_in_eight_dimensions_two_draws_are_off_by_what_the_page_says(narrow, two, thirty):
    """Four deviations of 1 and four of `narrow`.  Two draws of a round Gaussian have the closed form
    H - truth = D/2 (psi(D/2) + 2 log 2) + log V_D + 1 - D/2 log(2 pi e), 1.62 here; the averages are known to 0.06."""
    deviations = torch.tensor([1.0] * 4 + [narrow] * 4, dtype=torch.float64)
    truth = 4 * math.log(2 * math.pi * math.e) + float(deviations.log().sum())
    for count, sets, off in ((2, 6_000, two), (30, 200, thirty)):
        draws = deviations * torch.randn(sets, count, 8, generator=seeded(4), dtype=torch.float64)
        assert float(nearest_neighbour_entropy(draws).mean()) - truth == pytest.approx(off, abs=0.15)
    if narrow == 1:
        volume = 4 * math.log(math.pi) - math.lgamma(5)
        psi = float(torch.digamma(torch.tensor(4.0, dtype=torch.float64)))
        exact = 4 * (psi + 2 * math.log(2)) + volume + 1 - 4 * math.log(2 * math.pi * math.e)
        assert exact == pytest.approx(two, abs=0.01)


def test_two_draws_give_the_papers_estimate():
    """Eq. 12: D ln(2 |x^a - x^b|) and a constant, whatever the two draws."""
    pairs = torch.randn(50, 2, 3, generator=seeded(5), dtype=torch.float64)
    eq12 = 3 * (2 * (pairs[:, 0] - pairs[:, 1]).norm(dim=1)).log()
    rest = nearest_neighbour_entropy(pairs) - eq12
    torch.testing.assert_close(rest, rest.mean().expand(50), atol=1e-6, rtol=0)


def test_coinciding_draws_are_finite():
    draws = torch.zeros(1, 3, 2, requires_grad=True)
    nearest_neighbour_entropy(draws).sum().backward()
    assert torch.isfinite(draws.grad).all()


def test_information_of_correlated_gaussians():
    """At T = log p(x, z) / p(x) p(z) the bound is 2 JS - 2 log 2, here by a sum over a grid; any other T gives less.
    200,000 pairs: the standard error is below 0.002."""
    rho, n = 0.8, 200_000
    axis = torch.linspace(-8, 8, 801, dtype=torch.float64)
    x, z = torch.meshgrid(axis, axis, indexing="ij")

    def log_ratio(x, z):
        return -0.5 * math.log(1 - rho**2) - (rho**2 * (x**2 + z**2) - 2 * rho * x * z) / (2 * (1 - rho**2))

    log_product = -(x**2 + z**2) / 2 - math.log(2 * math.pi)
    log_joint = log_product + log_ratio(x, z)
    middle = torch.logaddexp(log_joint, log_product) - math.log(2)
    cell = (axis[1] - axis[0]) ** 2
    twice_js = ((log_joint.exp() * (log_joint - middle) + log_product.exp() * (log_product - middle)).sum() * cell).item()
    noise = torch.randn(2, n, generator=seeded(6), dtype=torch.float64)
    pair = (rho * noise[0] + math.sqrt(1 - rho**2) * noise[1], noise[0])
    other = noise[0][torch.randperm(n, generator=seeded(7))]

    def bound(factor):
        return float(jsd_information(factor * log_ratio(*pair), factor * log_ratio(pair[0], other)))

    assert bound(1.0) == pytest.approx(twice_js - 2 * math.log(2), abs=0.01)
    assert bound(1.0) > max(bound(0.7), bound(1.4))
    assert bound(0.0) == pytest.approx(-2 * math.log(2))
