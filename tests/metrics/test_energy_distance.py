"""The energy distance against slow sums and closed forms; its test against repetition."""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats
from seeding import seeded

from priorkit.core import Layout
from priorkit.errors import UsageError
from priorkit.metrics.energy_distance import energy_distance


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator)


def flat(dim):
    return Layout(((dim,),))


def slow(x, y):
    between = np.mean([np.linalg.norm(a - b) for a in x for b in y])
    within = [np.mean([np.linalg.norm(a - b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j]) for s in (x, y)]
    return 2 * between - sum(within)


def mean_length(shift, dim):
    """E|Z| for Z ~ N(shift, 2 I): a noncentral chi distribution with `dim` degrees of freedom."""
    gamma = special.gamma((dim + 1) / 2) / special.gamma(dim / 2)
    return 2 * gamma * special.hyp1f1(-0.5, dim / 2, -(shift**2) / 4)


def test_the_estimate_and_its_jackknife_are_the_slow_ones():
    x, y = normal(seeded(0), 23, 3), 0.5 * normal(seeded(1), 31, 3) + 0.7
    figure = energy_distance(x, y, flat(3))["all"]
    a, b = x.double().numpy(), y.double().numpy()
    assert figure.value == pytest.approx(slow(a, b), abs=1e-10)
    of_x = np.array([slow(np.delete(a, i, 0), b) for i in range(len(a))])
    of_y = np.array([slow(a, np.delete(b, j, 0)) for j in range(len(b))])
    variance = (len(a) - 1) * of_x.var() + (len(b) - 1) * of_y.var()
    assert figure.spread == pytest.approx(math.sqrt(variance), rel=1e-8)


def test_in_one_dimension_it_is_twice_cramer_s_distance():
    """E = 2 int (F - G)^2 for distribution functions F and G; with the points' distances to themselves in the means."""
    x, y = normal(seeded(2), 40, 1), normal(seeded(3), 50, 1) + 0.5
    value = energy_distance(x, y, flat(1))["all"].value
    within = [2 * torch.pdist(s.double()).sum().item() for s in (x, y)]
    with_self = value + sum(w / (n * (n - 1)) - w / n**2 for w, n in zip(within, (40, 50), strict=True))
    assert with_self == pytest.approx(stats.energy_distance(x[:, 0].double(), y[:, 0].double()) ** 2, abs=1e-10)


@pytest.mark.parametrize(("dim", "shift"), [(1, 0.5), (3, 1.0), (10, 2.0)])
def test_shifted_gaussians_have_a_closed_form(dim, shift):
    x, y = normal(seeded(4), 900, dim), normal(seeded(5), 900, dim)
    x[:, 0] += shift
    figures = energy_distance(x, y, flat(dim))
    expected = 2 * (mean_length(shift, dim) - mean_length(0, dim))
    assert figures["all"].value == pytest.approx(expected, abs=4 * figures["all"].spread)
    assert figures["all"].spread < 0.2 * expected
    assert figures["all_p"].value == 1 / 200


def test_the_spread_is_the_deviation_over_repetitions():
    generator = seeded(6)
    figures = [
        energy_distance(normal(generator, 50, 2) + 0.7, normal(generator, 75, 2), flat(2), permutations=1)["all"]
        for _ in range(80)
    ]
    values, spreads = (torch.tensor([getattr(f, name) for f in figures]) for name in ("value", "spread"))
    # The deviation of 80 values is known to 8 %; three of them.
    assert values.std().item() == pytest.approx(spreads.mean().item(), rel=0.24)


def test_one_distribution_gives_zero_on_average_and_uniform_p_values():
    generator = seeded(7)
    found = [
        energy_distance(normal(generator, 25, 2), normal(generator, 40, 2), flat(2), generator=generator, permutations=99)
        for _ in range(200)
    ]
    p = np.array([figures["all_p"].value for figures in found])
    values = np.array([figures["all"].value for figures in found])
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(200)
    # p is uniform on 0.01, 0.02, ... 1: 20 in each of ten bins, by a chi-square test.
    counts = np.histogram(p, bins=np.arange(0.005, 1.1, 0.1))[0]
    assert counts.sum() == 200 and stats.chisquare(counts).pvalue > 1e-3
    # At most 5 % below 0.05 but for 3 standard errors: the test keeps its level.
    assert (p <= 0.05).mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


@pytest.mark.parametrize("kind", ["scale", "dependence", "sign"])
def test_what_a_mean_does_not_show_is_found(kind):
    generator = seeded(8)
    x, y = normal(generator, 800, 4), normal(generator, 800, 4)
    if kind == "scale":
        x *= 0.8
    elif kind == "dependence":
        x[:, 1] = 0.8 * x[:, 0] + 0.6 * x[:, 1]
    else:
        x[:, 1] = x[:, 1].abs() * x[:, 0].sign()
    assert energy_distance(x, y, flat(4), generator=generator)["all_p"].value <= 0.01


def test_every_part_is_the_distance_of_its_columns():
    layout = Layout(((2,), (1, 3), (2,)))
    generator = seeded(9)
    x, y = normal(generator, 60, 7), normal(generator, 50, 7)
    x[:, 2:5] *= 0.3
    figures = energy_distance(x, y, layout)
    columns = {"layer_0": (0, 2), "layer_1": (2, 5), "layer_2": (5, 7), "top_2": (0, 5), "all": (0, 7)}
    assert set(figures) == set(columns) | {f"{name}_p" for name in columns}
    for name, (start, stop) in columns.items():
        alone = energy_distance(x[:, start:stop], y[:, start:stop], flat(stop - start))["all"]
        assert figures[name].value == pytest.approx(alone.value, abs=1e-10)
    assert figures["layer_1_p"].value <= 0.01 < figures["layer_2_p"].value
    assert set(energy_distance(x, y, Layout(((3,), (4,))))) == {
        f"{part}{end}" for part in ("layer_0", "layer_1", "all") for end in ("", "_p")
    }


def test_large_samples_are_cut_and_the_generator_decides():
    x, y = normal(seeded(10), 500, 2), normal(seeded(11), 700, 2)
    first, second = (energy_distance(x, y, flat(2), generator=seeded(12), points=100) for _ in range(2))
    assert first == second
    assert "100 posterior samples" in first["all"].protocol and "100 prior samples" in first["all"].protocol
    assert energy_distance(x, y, flat(2), generator=seeded(13), points=100) != first


def test_wrong_input_is_a_usage_error():
    u = normal(seeded(14), 50, 2)
    with pytest.raises(UsageError, match="prior samples are not all finite"):
        energy_distance(u, u * torch.nan, flat(2))
    with pytest.raises(UsageError, match=r"expected posterior samples \(N, 2\)"):
        energy_distance(u[:, :1], u, flat(2))
    with pytest.raises(UsageError, match="at least 20 samples of each are needed, got 19"):
        energy_distance(u, u[:19], flat(2))
