"""The kernel distance, against loops, torch-fidelity, and moments that are known."""

import pytest
import torch
from seeding import seeded

from priorkit.errors import UsageError
from priorkit.metrics.fidelity_library import fidelity_library
from priorkit.metrics.kernel_distance import KernelDistance


def normal(generator, count, size, shift=0.0):
    return torch.randn(count, size, generator=generator, dtype=torch.float64) + shift


def slow(x, y):
    def k(a, b):
        return (float(a @ b) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    first = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    second = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return first + second - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


def test_it_is_the_mean_over_all_pairs(monkeypatch):
    monkeypatch.setattr("priorkit.metrics.kernel_distance.TILE", 8)
    x, y = normal(seeded(0), 21, 3, 0.4), normal(seeded(1), 30, 3)
    assert KernelDistance(y).of(x, "").value == pytest.approx(slow(x, y), rel=1e-9)


def test_the_spread_is_a_jackknife():
    """Each image left out in turn, by a new computation."""
    x, y = normal(seeded(0), 7, 2, 1.0), normal(seeded(1), 9, 2)
    without_x = torch.tensor([slow(torch.cat([x[:i], x[i + 1 :]]), y) for i in range(7)])
    without_y = torch.tensor([slow(x, torch.cat([y[:i], y[i + 1 :]])) for i in range(9)])
    variance = 6 * without_x.double().var(correction=0) + 8 * without_y.double().var(correction=0)
    assert KernelDistance(y).of(x, "").spread == pytest.approx(1.959964 * float(variance.sqrt()), rel=1e-4)


def test_on_as_many_images_it_is_the_library_s_kid_of_one_whole_subset():
    x, y = normal(seeded(0), 60, 16, 0.2), normal(seeded(1), 60, 16)
    found = fidelity_library().kid_features_to_metric(x, y, kid_subsets=1, kid_subset_size=60, verbose=False)
    assert KernelDistance(y).of(x, "").value == pytest.approx(float(found["kernel_inception_distance_mean"]), rel=1e-6)


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_on_a_line_it_is_a_sum_over_three_moments(shift):
    """(xy + 1)^3 = sum of C(3, p) x^p y^p; the interval contains the truth in at least 90 % of 120 trials."""
    moments = [(shift, 0.0), (1 + shift**2, 1.0), (shift**3 + 3 * shift, 0.0)]
    truth = sum(c * (a - b) ** 2 for c, (a, b) in zip((3, 3, 1), moments, strict=True))
    generator = seeded(3)
    found = [KernelDistance(normal(generator, 400, 1)).of(normal(generator, 300, 1, shift), "") for _ in range(120)]
    values = torch.tensor([each.value for each in found])
    assert abs(values.mean() - truth) < 3 * values.std() / 120**0.5
    assert sum(abs(each.value - truth) <= each.spread for each in found) / 120 >= 0.9


def test_order_and_turn_do_not_matter():
    x, y = normal(seeded(0), 40, 4, 0.3), normal(seeded(1), 50, 4)
    turn = torch.linalg.qr(normal(seeded(2), 4, 4)).Q
    before = KernelDistance(y).of(x, "")
    after = KernelDistance(y.flip(0) @ turn).of(x.flip(0) @ turn, "")
    assert (after.value, after.spread) == (pytest.approx(before.value), pytest.approx(before.spread))


def test_two_images_are_too_few():
    with pytest.raises(UsageError, match="at least 3 generated images are needed, got 2"):
        KernelDistance(torch.ones(5, 2)).of(torch.ones(2, 2), "")
    with pytest.raises(UsageError, match="at least 3 real images"):
        KernelDistance(torch.ones(2, 2))
