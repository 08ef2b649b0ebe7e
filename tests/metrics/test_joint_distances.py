"""Distances of several sets to one, and the share of a gap, against known Gaussians and slow resampling."""

import pytest
import torch
from seeding import seeded

from priorkit.errors import UsageError
from priorkit.metrics import frechet_distance, statistics
from priorkit.metrics.joint_distances import NORMAL, interval, joint_distances


def normal(seed, count, size=8, shift=0.0):
    return torch.randn(count, size, generator=seeded(seed)) + shift


def test_values_are_the_frechet_distances():
    sets = {"a": normal(0, 50, shift=1), "b": 2 * normal(1, 70)}
    real = normal(2, 60)
    found = joint_distances(sets, real, generator=seeded(0), resamples=3)
    assert dict(found.values) == {name: frechet_distance(statistics(x), statistics(real)) for name, x in sets.items()}
    assert {name: len(each) for name, each in found.resampled.items()} == {"a": 3, "b": 3}


def test_a_resample_takes_the_same_real_images_and_the_same_rows_for_all_sets():
    """Against copies of rows, chosen by the same draws."""
    sets, real = {"a": normal(0, 40, shift=1), "b": normal(1, 40), "c": normal(2, 30)}, normal(3, 50)
    found = joint_distances(sets, real, generator=seeded(5), resamples=4)
    generator = seeded(5)
    for number in range(4):
        reference = statistics(real[torch.randint(50, (50,), generator=generator)])
        rows = torch.randint(40, (40,), generator=generator)
        chosen = {"a": rows, "b": rows, "c": torch.randint(30, (30,), generator=generator)}
        for name, features in sets.items():
            expected = frechet_distance(statistics(features[chosen[name]]), reference)
            assert float(found.resampled[name][number]) == pytest.approx(expected, rel=1e-9)


def test_the_ends_of_the_share_are_certain():
    floor, gaussian = normal(0, 200), normal(1, 200, shift=1)
    found = joint_distances({"g": gaussian, "same": gaussian.clone(), "p": floor.clone(), "f": floor}, normal(2, 100))
    assert found.share_closed("p", "g", "f") == (1.0, 0.0)
    assert found.share_closed("same", "g", "f") == (0.0, 0.0)


def test_where_there_is_no_gap_there_is_no_share():
    found = joint_distances({"g": normal(0, 100), "p": normal(1, 100), "f": normal(2, 100)}, normal(3, 100))
    with pytest.raises(UsageError, match="no gap to close"):
        found.share_closed("p", "g", "f")


def test_rows_of_the_same_image_are_resampled_together():
    """Each of 60 images three times: an interval as of 60 images, not of 180."""
    once, real = normal(0, 60, shift=1), normal(1, 500)
    sets = {"once": once, "repeated": once.repeat(3, 1), "taken apart": once.repeat(3, 1)}
    found = joint_distances(sets, real, distinct={"repeated": 60}, generator=seeded(0))
    assert found.half_width("repeated") == pytest.approx(found.half_width("once"), rel=0.05)
    assert found.half_width("taken apart") < 0.75 * found.half_width("once")


SIZE, SHIFTS = 4, {"g": 0.8, "p": 0.6, "f": 0.4}


def shares(repeats, count, heldout):
    """Intervals of the share whose truth is (g^2 - p^2) / (g^2 - f^2); the prior's samples start from the Gaussian ones."""
    for seed in range(repeats):
        noise = normal(4 * seed, count, SIZE)
        moved = 0.8 * noise + 0.6 * normal(4 * seed + 1, count, SIZE)
        sets = {"g": noise + SHIFTS["g"], "p": moved + SHIFTS["p"], "f": normal(4 * seed + 2, count, SIZE) + SHIFTS["f"]}
        real = normal(4 * seed + 3, heldout, SIZE)
        yield joint_distances(sets, real, generator=seeded(seed), resamples=40).share_closed("p", "g", "f")


def test_the_interval_of_the_share_holds_the_truth_as_often_as_it_says():
    g, p, f = (SHIFTS[name] ** 2 for name in "gpf")
    truth = (g - p) / (g - f)
    found = list(shares(60, 200, 150))
    covered = sum(abs(share - truth) <= half for share, half in found)
    # 95 % of 60 is 57 ± 1.7, a little less as 40 resamples know the spread to 11 %.
    assert 52 <= covered <= 60
    scatter = float(torch.tensor([share for share, _ in found]).std())
    width = sum(half for _, half in found) / len(found) / NORMAL
    assert width == pytest.approx(scatter, rel=0.35)


def test_the_interval_is_told():
    assert "95 % interval" in interval() and "200 bootstrap resamples" in interval() and "same real images" in interval()
