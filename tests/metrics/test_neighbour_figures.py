"""Precision, recall, density, coverage and their clipped forms: against loops, closed forms and known mixtures."""

import pytest
import torch
from scipy.stats import betabinom
from seeding import seeded

from priorkit.errors import UsageError
from priorkit.metrics.clipped_coverage import ClippedBalls, clipped_coverage, expected_clipped_coverage
from priorkit.metrics.density_coverage import density_and_coverage, expected_coverage
from priorkit.metrics.neighbour_balls import Balls
from priorkit.metrics.precision_recall import precision_and_recall

NAMES = ("precision", "recall", "density", "coverage", "clipped_density", "clipped_coverage")


def normal(generator, count, size, shift=0.0):
    return torch.randn(count, size, generator=generator) + shift


def figures(generated, real, k=5):
    balls = Balls(real, k)
    met = balls.counts(generated)
    found = precision_and_recall(generated, balls, met, "here") | density_and_coverage(generated, balls, met, "here")
    found["clipped_density"] = ClippedBalls(balls).density(generated, "here")
    found["clipped_coverage"] = clipped_coverage(generated, balls, met, "here")
    return found


def radii(points, k):
    distances = [[float((a - b).square().sum()) for j, b in enumerate(points) if j != i] for i, a in enumerate(points)]
    return [sorted(each)[k - 1] ** 0.5 for each in distances]


def slow(generated, real, k):
    """Every distance, one by one."""
    between = [[float((x - y).square().sum()) ** 0.5 for y in real] for x in generated]
    of_real, of_generated = radii(real, k), radii(generated, k)
    n, m = len(generated), len(real)
    middle = torch.tensor(of_real).quantile(0.5).item()
    clipped = [min(r, middle) for r in of_real]
    within = [[float((a - b).square().sum()) ** 0.5 for b in real] for a in real]
    among = sum(min(sum(within[j][i] <= clipped[i] for i in range(m) if i != j) / k, 1) for j in range(m)) / m
    in_ball = [sum(between[j][i] <= of_real[i] for j in range(n)) for i in range(m)]
    dense = sum(min(sum(between[j][i] <= clipped[i] for i in range(m)) / k, 1) for j in range(n)) / n
    return {
        "precision": sum(any(between[j][i] <= of_real[i] for i in range(m)) for j in range(n)) / n,
        "recall": sum(any(between[j][i] <= of_generated[j] for j in range(n)) for i in range(m)) / m,
        "density": sum(in_ball) / (k * n),
        "coverage": sum(count > 0 for count in in_ball) / m,
        "clipped_density": min(dense / among, 1),
        "raw": sum(min(count / k, 1) for count in in_ball) / m,
    }


@pytest.mark.parametrize(("k", "shift"), [(1, 0.0), (3, 0.5), (5, 1.5)])
def test_they_are_those_of_every_distance_written_out(monkeypatch, k, shift):
    """Several tiles, the last ones not full."""
    monkeypatch.setattr("priorkit.metrics.squared_distances.TILE", 16)
    generated, real = normal(seeded(0), 41, 3, shift), normal(seeded(1), 53, 3)
    found, expected = figures(generated, real, k), slow(generated, real, k)
    for name in NAMES[:-1]:
        assert found[name].value == pytest.approx(expected[name], rel=1e-6), name
    # The inverse of the mean, without an inverse: the share has this mean.
    share = found["clipped_coverage"].value * 41
    means = expected_clipped_coverage(41, 53, k)
    low = int(share)
    interpolated = means[low] + (share - low) * (means[min(low + 1, 41)] - means[low])
    assert interpolated == pytest.approx(min(expected["raw"], means[-1]), abs=1e-9)


def test_what_a_share_of_the_data_s_images_would_have_is_a_beta_binomial_mean():
    means = expected_clipped_coverage(30, 50, 4)
    for count in (0, 1, 3, 17, 30):
        expected = sum(min(c, 4) * betabinom.pmf(c, count, 4, 46) for c in range(count + 1)) / 4
        assert means[count] == pytest.approx(expected, abs=1e-12)


def test_one_distribution_has_the_known_means():
    """Density 1 exactly, coverage as of order statistics, clipped coverage nearly 1; standard errors of the mean."""
    generator, values = seeded(2), {name: [] for name in NAMES}
    for _ in range(60):
        for name, figure in figures(normal(generator, 60, 2), normal(generator, 80, 2), k=3).items():
            values[name].append(figure.value)
    mean = {name: torch.tensor(each).mean().item() for name, each in values.items()}
    error = {name: torch.tensor(each).std().item() / 60**0.5 for name, each in values.items()}
    assert abs(mean["density"] - 1) < 3 * error["density"]
    assert abs(mean["coverage"] - expected_coverage(60, 80, 3)) < 3 * error["coverage"]
    assert 0.9 < mean["clipped_density"] <= 1 and 0.9 < mean["clipped_coverage"] <= 1


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_the_clipped_ones_are_the_share_of_good_images(share):
    good = round(800 * share)
    generated = torch.cat([normal(seeded(0), good, 4), normal(seeded(1), 800 - good, 4, shift=50)])
    found = figures(generated, normal(seeded(2), 1_000, 4))
    for name in ("precision", "density", "clipped_density", "clipped_coverage"):
        assert found[name].value == pytest.approx(share, abs=0.06), name
        assert abs(found[name].value - share) < 1.5 * found[name].spread


def test_lost_modes_lower_the_figures_of_diversity_alone():
    real = torch.cat([normal(seeded(0), 400, 4), normal(seeded(1), 400, 4, shift=30)])
    found = figures(normal(seeded(2), 600, 4), real)
    assert found["recall"].value == pytest.approx(0.5, abs=0.02)
    assert 0.4 < found["coverage"].value <= 0.5 and 0.5 < found["clipped_coverage"].value < 0.7
    assert found["precision"].value > 0.95 and found["clipped_density"].value > 0.95


def test_outliers_do_not_enlarge_clipped_balls():
    """Real outliers whose balls are wide let anything in; clipped balls do not."""
    real = torch.cat([normal(seeded(0), 500, 4), 60 * normal(seeded(1), 8, 4)])
    found = figures(normal(seeded(2), 400, 4, shift=8), real)
    assert found["precision"].value > 0.9 and found["clipped_density"].value < 0.02


def test_order_place_turn_and_scale_do_not_matter():
    generated, real = normal(seeded(0), 90, 5, 0.3).double(), normal(seeded(1), 110, 5).double()
    turn = torch.linalg.qr(torch.randn(5, 5, generator=seeded(2), dtype=torch.float64)).Q
    moved = [3 * each[torch.randperm(len(each), generator=seeded(3))] @ turn + 100 for each in (generated, real)]
    before, after = figures(generated, real), figures(*moved)
    for name in NAMES:
        assert after[name].value == pytest.approx(before[name].value, rel=1e-9), name
        assert after[name].spread == pytest.approx(before[name].spread, rel=1e-6), name


def test_the_intervals_contain_the_mean_of_repetitions():
    """At least 90 % of 95 %; they are too wide rather than too narrow, as no ball of another image moves."""
    generator, found = seeded(4), {name: [] for name in NAMES}
    for _ in range(80):
        for name, figure in figures(normal(generator, 100, 2, 0.7), normal(generator, 120, 2)).items():
            found[name].append((figure.value, figure.spread))
    for name, pairs in found.items():
        mean = sum(value for value, _ in pairs) / len(pairs)
        assert sum(abs(value - mean) <= spread for value, spread in pairs) / len(pairs) > 0.9, name
        deviation = torch.tensor([value for value, _ in pairs]).std().item()
        assert sum(spread for _, spread in pairs) / len(pairs) < 2.5 * 1.96 * deviation, name


def test_too_few_images_have_no_balls():
    with pytest.raises(UsageError, match="more than 5 images, got 5"):
        Balls(normal(seeded(0), 5, 2))
    assert "k = 5, here" in figures(normal(seeded(0), 20, 2), normal(seeded(1), 20, 2))["recall"].protocol


def test_images_that_are_in_no_other_s_ball_have_no_density():
    """Radii at most the median: with k = 1, pairs at distances 1, 2, 4, 8 ... along a line keep the small balls only."""
    far = torch.tensor([[0.0], [10.0], [30.0], [70.0], [150.0]])
    with pytest.raises(UsageError, match="there is no density"):
        ClippedBalls(_Apart(Balls(far, 1)))


class _Apart:
    """Balls of radius 0, none of which holds another image."""

    def __init__(self, balls):
        self.balls, self.k = balls, balls.k

    def clipped(self):
        return self

    def counts(self):
        return type("Met", (), {"of_points": torch.zeros(5)})()
