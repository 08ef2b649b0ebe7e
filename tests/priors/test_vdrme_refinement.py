"""Steps that refine a generator's draws, on Gaussian conditionals, where all is known."""

import math

import pytest
import torch
from linear import space
from priorkit_vdrme import VdrmePrior, VdrmeSettings
from priorkit_vdrme.refinement import refined
from torch import nn

from priorkit.core import Condition, Latents, Sampling, Step

DIM, SCALES, VARIANCE = 2, 3, 0.3


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Shrink(nn.Module):
    """f(x, i) = (1 - 1/v) |x|^2 / 2, so that E is that of N(0, v I) at every scale."""

    def forward(self, x, level):
        return 0.5 * (1 - 1 / VARIANCE) * x.square().sum(1, keepdim=True)


class Flat(nn.Module):
    """f = 0."""

    def forward(self, x, level):
        return torch.zeros_like(x[:, :1])


class Halves(nn.Module):
    """Two classes with log-odds 2 x_1."""

    def forward(self, x, level):
        return torch.stack([x[:, 0], -x[:, 0]], dim=1)


def prior(**options):
    torch.manual_seed(0)
    made = VdrmePrior(VdrmeSettings(**{"scales": SCALES, "bound": None} | options), space(DIM)).double()
    made.energy = Shrink()
    return made


def exact(made, level):
    """Factor m of x_{i+1} in the mean, and variance, of x_i | x_{i+1}, by hand: precision 1/v + a^2/b^2.  (n, 1) each."""
    a, b = made.schedule.carry[level, None], made.schedule.spread[level, None]
    variance = 1 / (1 / VARIANCE + (a / b) ** 2)
    return variance * a / b**2, variance


def check_moments(made, x, above, level):
    """Means, variances and lack of correlation with x_{i+1}, by scale, to 5 standard errors."""
    factor, variance = exact(made, level)
    rest = (x - factor * above) / variance.sqrt()
    for i in range(SCALES):
        mine, over = rest[level == i], above[level == i]
        error = 5 / math.sqrt(len(mine))
        assert mine.mean(0).abs().max() < error
        assert (mine.var(0) - 1).abs().max() < error * math.sqrt(2)
        assert (mine * over).mean(0).abs().max() < error


def test_one_step_keeps_the_exact_conditional():
    """Exact draws are moved and stay exact draws; 60,000 rows."""
    made, n = prior(), 60_000
    level = torch.arange(n) % SCALES
    above, noise = torch.randn(2, n, DIM, generator=seeded(1), dtype=torch.float64)
    factor, variance = exact(made, level)
    start = factor * above + variance.sqrt() * noise
    x, acceptance = made.refined(start, above, level, steps=1, generator=seeded(2))
    assert 0.5 < float(acceptance) < 0.95
    assert float(((x - start).abs() > 1e-9).any(1).double().mean()) == pytest.approx(float(acceptance))
    check_moments(made, x, above, level)


def test_steps_lead_to_the_exact_conditional():
    """From N(0, I), which has up to three times the variance, 100 steps; 30,000 rows."""
    made, n = prior(), 30_000
    level = torch.arange(n) % SCALES
    above, start = torch.randn(2, n, DIM, generator=seeded(3), dtype=torch.float64)
    x, _ = made.refined(start, above, level, steps=100, generator=seeded(4))
    check_moments(made, x, above, level)


def test_moves_of_a_flat_ratio_are_all_accepted_and_keep_the_kernel():
    """f = 0: the conditional is N(a x_{i+1}, b^2), of which every move keeps the law; 20,000 rows, 5 standard errors."""
    n = 20_000
    mean, noise = torch.randn(2, n, DIM, generator=seeded(5), dtype=torch.float64)
    spread = torch.full((n, 1), 0.4, dtype=torch.float64)
    x, acceptance = refined(
        lambda x: torch.zeros(len(x), dtype=x.dtype), mean + spread * noise, mean, spread, steps=3, generator=seeded(6)
    )
    assert float(acceptance) == 1
    assert ((x - mean).var(0) / 0.16 - 1).abs().max() < 5 * math.sqrt(2 / n)


def test_refined_points_keep_to_the_support():
    """A ratio that forbids a half: half-normal rows from forbidden starts, mean sqrt(2 / pi); 10,000 rows, 200 steps."""
    n = 10_000
    mean, spread = torch.zeros(n, 1, dtype=torch.float64), torch.ones(n, 1, dtype=torch.float64)
    start = torch.full((n, 1), -1.0, dtype=torch.float64)
    x, _ = refined(lambda x: 1e3 * (x[:, 0] > 0).double(), start, mean, spread, steps=200, generator=seeded(7))
    assert bool((x > 0).all())
    assert float(x.mean()) == pytest.approx(math.sqrt(2 / math.pi), abs=5 * math.sqrt((1 - 2 / math.pi) / n))


def test_the_tilt_of_a_class_is_sampled():
    """f = 0, so that x_i | x_{i+1}, y = 0 is N(m, b^2) times sigmoid(2 x_1), whose mean is found by a sum; 20,000 rows."""
    made, n = prior(classes=2), 20_000
    made.energy, made.classifier = Flat(), Halves()
    level, labels = torch.full((n,), 1), torch.zeros(n, dtype=torch.int64)
    above = torch.zeros(n, DIM, dtype=torch.float64)
    x, _ = made.refined(above, above, level, labels, steps=60, generator=seeded(8))
    b = float(made.schedule.spread[1])
    grid = torch.linspace(-8 * b, 8 * b, 4_001, dtype=torch.float64)
    weight = torch.sigmoid(2 * grid) * torch.exp(-0.5 * (grid / b) ** 2)
    assert float(x[:, 0].mean()) == pytest.approx(float((weight * grid).sum() / weight.sum()), abs=5 * b / math.sqrt(n))
    assert float(x[:, 1].mean()) == pytest.approx(0, abs=5 * b / math.sqrt(n))


def test_fixed_columns_stay_and_the_rest_is_refined():
    made, n = prior(), 9_000
    level = torch.arange(n) % SCALES
    above, start = torch.randn(2, n, DIM, generator=seeded(9), dtype=torch.float64)
    x, _ = made.refined(start, above, level, steps=100, fixed=1, generator=seeded(10))
    assert torch.equal(x[:, :1], start[:, :1])
    check_moments(made, x[:, 1:], above[:, 1:], level)


def test_draws_follow_the_energies_when_refined():
    """Generators of N(0, I), energies of N(0, v): from x_K ~ N(0, I) down, variances follow v_i = m^2 v_{i+1} + c^2.
    10,000 draws, 5 standard errors; calls are one of the generator and one of the energy for the start and each step."""
    made = prior(refine=5, refine_draws=100)
    drawn = made.draw(10_000, Sampling(None, seeded(11)))
    expected = 1.0
    for i in reversed(range(SCALES)):
        factor, variance = (float(value) for value in exact(made, torch.tensor([i])))
        expected = factor**2 * expected + variance
    assert (drawn.u.var(0) / expected - 1).abs().max() < 5 * math.sqrt(2 / 10_000)
    assert drawn.chains[0].calls == SCALES * (1 + 101)
    assert drawn.chains[0].diagnostics["acceptance"].shape == (SCALES,)


def test_draws_are_the_generators_without_steps():
    """The default, and with refine_draws = 0, whatever the fakes of training; with top columns fixed they stay fixed."""
    plain, spared, moved = (
        prior(**options).draw(50, Sampling(None, seeded(12))).u
        for options in ({}, {"refine": 5, "refine_draws": 0}, {"refine": 5})
    )
    assert torch.equal(plain, spared) and not torch.equal(plain, moved)
    top = torch.randn(50, 1, dtype=torch.float64)
    drawn = prior(refine=5).draw(50, Sampling(None, seeded(13), condition=Condition(top=top)))
    assert torch.equal(drawn.u[:, :1], top)


@pytest.mark.parametrize("steps", [0, 60])
def test_energies_learn_from_refined_fakes(steps):
    """At a scale whose data are N(0, v) energies of N(0, v) tell real points from a generator's, of variance
    a^2 (a^2 v + b^2) + b^2, but not from refined ones: mean energies of |x|^2 / 2v differ by 0.  30,000 rows; a mean energy
    of D = 2 coordinates has the deviation 1, a difference of two means the standard error sqrt(2 / n)."""
    made, n = prior(scales=1, refine=steps, gradient_penalty=0.0), 30_000
    made.schedule.signal[0], made.schedule.noise[0] = 1, 0
    made.schedule.carry[0], made.schedule.spread[0] = 0.8, 0.6
    data = Latents(math.sqrt(VARIANCE) * torch.randn(n, DIM, generator=seeded(14), dtype=torch.float64))
    gap = -float(made.objectives()[0].loss(data, Step(0, 1, seeded(15))).value.detach())
    wide = 0.64 * (0.64 * VARIANCE + 0.36) + 0.36
    expected, deviation = (0.0, 1.0) if steps else (wide / VARIANCE - 1, wide / VARIANCE)
    assert gap == pytest.approx(expected, abs=5 * deviation * math.sqrt(2 / n))
