"""The sliced Wasserstein distance against closed forms and an optimal assignment."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from seeding import seeded

from priorkit.core import Layout
from priorkit.errors import UsageError
from priorkit.metrics.sliced_wasserstein import sliced_wasserstein


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator)


def flat(dim):
    return Layout(((dim,),))


def value(x, y, dim, **options):
    return sliced_wasserstein(x, y, flat(dim), generator=seeded(0), **options)["all"].value


def test_in_one_dimension_it_is_the_cost_of_the_best_assignment():
    x, y = normal(seeded(1), 60, 1).double(), 2 * normal(seeded(2), 60, 1).double() + 1
    costs = (x - y.T).square().numpy()
    rows, columns = linear_sum_assignment(costs)
    assert value(x, y, 1) == pytest.approx(math.sqrt(costs[rows, columns].mean()), rel=1e-10)


@pytest.mark.parametrize("dim", [1, 2, 30])
def test_a_shift_of_the_same_points(dim):
    """(theta d)^2 has the mean |d|^2 / D; over K directions its relative error is below sqrt(2 / K)."""
    x = normal(seeded(3), 50, dim)
    shift = normal(seeded(4), dim)
    expected = shift.norm().item() / math.sqrt(dim)
    found = value(x, x + shift, dim, directions=4_000)
    assert found == pytest.approx(expected, rel=1e-6 if dim == 1 else 2 * math.sqrt(2 / 4_000))


def test_a_scale_of_the_same_points():
    """c x against x: |c - 1| times the root mean square of theta x, which is 1 for whitened points."""
    x = normal(seeded(5), 400, 3).double()
    x -= x.mean(0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(x.T @ x / len(x))).T
    assert value(x, 1.7 * x, 3) == pytest.approx(0.7, rel=1e-9)
    assert value(x, x, 3) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("shift", "scale"), [(1.5, 1.0), (0.0, 1.8), (1.0, 0.5)])
def test_two_gaussians_have_a_closed_form(shift, scale):
    """SW^2 = |d|^2 / D + (c - 1)^2 for N(d, c^2 I) against N(0, I)."""
    dim = 4
    x, y = scale * normal(seeded(6), 500, dim), normal(seeded(7), 500, dim)
    x[:, 0] += shift
    figure = sliced_wasserstein(x, y, flat(dim), generator=seeded(8), directions=500)["all"]
    expected = math.sqrt(shift**2 / dim + (scale - 1) ** 2)
    # Half of sqrt(2 / 500) for the directions, and four bootstrap deviations.
    assert figure.value == pytest.approx(expected, abs=0.032 * expected + 4 * figure.spread)
    assert 0 < figure.spread < 0.1 * expected


def test_one_distribution_is_near_zero_and_comes_nearer():
    """The squared distance of n points each falls like 1 / n (but for a logarithm)."""
    generator = seeded(9)
    mean = {
        n: np.mean([value(normal(generator, n, 3), normal(generator, n, 3), 3, directions=20) ** 2 for _ in range(20)])
        for n in (50, 400)
    }
    assert mean[400] < 0.02 and 5 < mean[50] / mean[400] < 10


def test_the_spread_is_the_deviation_over_repetitions():
    generator = seeded(10)
    figures = [
        sliced_wasserstein(
            normal(generator, 100, 2) + 1, normal(generator, 100, 2), flat(2), generator=seeded(11), directions=40
        )["all"]
        for _ in range(60)
    ]
    values, spreads = (torch.tensor([getattr(f, name) for f in figures]) for name in ("value", "spread"))
    # 60 values know their deviation to 9 %; three of them.
    assert values.std().item() == pytest.approx(spreads.mean().item(), rel=0.28)


def test_every_part_is_the_distance_of_its_columns():
    layout = Layout(((2,), (1, 3), (2,)))
    x, y = normal(seeded(12), 100, 7), normal(seeded(13), 100, 7)
    x[:, 2:5] *= 0.2
    figures = sliced_wasserstein(x, y, layout, generator=seeded(14), directions=1_000)
    columns = {"layer_0": (0, 2), "layer_1": (2, 5), "layer_2": (5, 7), "top_2": (0, 5), "all": (0, 7)}
    assert set(figures) == set(columns)
    for name, (start, stop) in columns.items():
        # Other directions: the mean of 1,000 squares, whose deviations are below sqrt(2) of it, under a root; three of them.
        alone = value(x[:, start:stop], y[:, start:stop], stop - start, directions=1_000)
        assert figures[name].value == pytest.approx(alone, rel=3 * math.sqrt(2) * math.sqrt(2 / 1_000) / 2)
    assert figures["layer_1"].value > 0.6 > 0.35 > figures["layer_0"].value


def test_of_unequal_samples_as_many_are_taken():
    x, y = normal(seeded(15), 90, 2), normal(seeded(16), 400, 2)
    figures = [sliced_wasserstein(x, y, flat(2), generator=seeded(17)) for _ in range(2)]
    assert figures[0] == figures[1] and "90 posterior samples" in figures[0]["all"].protocol
    assert "30 posterior samples" in sliced_wasserstein(x, y, flat(2), points=30)["all"].protocol


def test_wrong_input_is_a_usage_error():
    u = normal(seeded(18), 50, 2)
    with pytest.raises(UsageError, match="posterior samples are not all finite"):
        sliced_wasserstein(u * torch.nan, u, flat(2))
    with pytest.raises(UsageError, match=r"expected prior samples \(N, 2\)"):
        sliced_wasserstein(u, u[:, :1], flat(2))
    with pytest.raises(UsageError, match="at least 20 samples of each are needed, got 19"):
        sliced_wasserstein(u, u[:19], flat(2))


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_the_spread_is_that_of_repeated_measurements(shift):
    """Over 60 pairs of samples, each with directions of its own: within a third, where the standard deviation of 60 is
    itself known to 9 %.  Under a shift most of it is the choice of directions, which all resamples share."""
    found = []
    for seed in range(60):
        generator = seeded(seed)
        x, y = normal(generator, 100, 8), normal(generator, 100, 8)
        y[:, 0] += shift
        found.append(sliced_wasserstein(x, y, flat(8), generator=generator, directions=32)["all"])
    deviation = torch.tensor([figure.value for figure in found]).std().item()
    told = sum(figure.spread for figure in found) / len(found)
    assert told / deviation == pytest.approx(1, abs=0.34) or (shift == 0 and 1 <= told / deviation <= 1.7)
