"""The three-sample test: against scipy's, where nothing is copied, and where it is known what is."""

import pytest
import torch
from scipy.stats import mannwhitneyu
from seeding import seeded

from priorkit.errors import UsageError
from priorkit.metrics import copying_test as module
from priorkit.metrics.copying import copied, further_end, nearest_others
from priorkit.metrics.copying_test import CopyingTest


def normal(generator, count, size=8, shift=0.0):
    return torch.randn(count, size, generator=generator) + shift


def distances(points, training):
    return torch.cdist(points.double(), training.double(), compute_mode="donot_use_mm_for_euclid_dist").min(1).values


def score(generated, heldout, training):
    """The z-score of one cell, without continuity correction."""
    ours, theirs = distances(generated, training), distances(heldout, training)
    n, m = len(ours), len(theirs)
    u = mannwhitneyu(ours.numpy(), theirs.numpy()).statistic
    return (u - n * m / 2) / (n * m * (n + m + 1) / 12) ** 0.5


def test_in_one_cell_it_is_the_z_score_of_mann_and_whitney():
    training, heldout, generated = normal(seeded(0), 300), normal(seeded(1), 90), normal(seeded(2), 110, shift=0.2)
    found = CopyingTest(training, heldout, cells=1).of(generated, "here")
    assert found.value == pytest.approx(score(generated, heldout, training), abs=1e-6)
    assert "1 of 1 cells" in found.protocol and "here" in found.protocol


def test_cells_are_weighted_by_held_out_images_and_small_ones_left_out():
    """Three clusters far from each other, the last with too few generated images."""
    places = (0.0, 100.0, 200.0)
    training, heldout, generated = (
        [normal(seeded(10 * seed + i), count, shift=places[i]) for i, count in enumerate(counts)]
        for seed, counts in enumerate(((200, 200, 200), (60, 120, 50), (80, 70, 12)))
    )
    found = CopyingTest(torch.cat(training), torch.cat(heldout), cells=3).of(torch.cat(generated), "")
    scores = [score(*each) for each in zip(generated, heldout, training, strict=True)]
    assert found.value == pytest.approx((60 * scores[0] + 120 * scores[1]) / 180, abs=1e-6)
    assert "2 of 3 cells" in found.protocol
    # Two independent scores of variance 1, if DeLong's is not above it.
    assert found.spread >= 1.959964 * (60**2 + 120**2) ** 0.5 / 180 - 1e-9


def test_what_was_not_copied_is_a_standard_normal_score():
    """Of 200 tests with the same training set; the interval contains 0 in at least 90 %."""
    training, generator = normal(seeded(0), 400, 4), seeded(1)
    tests = [CopyingTest(training, normal(generator, 50, 4), cells=1).of(normal(generator, 60, 4), "") for _ in range(200)]
    values = torch.tensor([each.value for each in tests])
    assert abs(values.mean()) < 3 / 200**0.5 and values.std() == pytest.approx(1, abs=0.16)
    assert sum(abs(each.value) <= each.spread for each in tests) / 200 >= 0.9


def test_copies_new_images_and_a_mixture_of_both_are_told_apart():
    """By the share, its complement and the test, each outside the others' intervals."""
    training, heldout, fresh = normal(seeded(0), 1_000), normal(seeded(1), 500), normal(seeded(2), 600)
    copies = training[torch.randperm(1_000, generator=seeded(3))[:600]] + 1e-3 * normal(seeded(4), 600)
    sets = {"copies": copies, "half": torch.cat([copies[:300], fresh[:300]]), "new": fresh}
    others, test = nearest_others(training), CopyingTest(training, heldout)
    shares = {name: copied(each, training, others) for name, each in sets.items()}
    assert shares["copies"] == 1
    level = copied(heldout, training, others)
    assert abs(shares["new"] - level) < further_end(level, 500) + further_end(shares["new"], 600)
    assert shares["half"] == pytest.approx((1 + shares["new"]) / 2, abs=0.05)
    scores = {name: test.of(each, "") for name, each in sets.items()}
    assert abs(scores["new"].value) < 2 * scores["new"].spread  # 95 % of such intervals contain 0, and 99.99 % of these
    assert scores["half"].value + scores["half"].spread < -3
    assert scores["copies"].value + scores["copies"].spread < scores["half"].value - scores["half"].spread


def test_images_that_are_too_far_have_a_score_above_0():
    found = CopyingTest(normal(seeded(0), 500), normal(seeded(1), 200)).of(1.5 * normal(seeded(2), 200), "")
    assert found.value > 2 * found.spread


def test_order_and_turn_do_not_matter():
    training, heldout, generated = normal(seeded(0), 300, 3), normal(seeded(1), 90, 3), normal(seeded(2), 110, 3)
    turn = torch.linalg.qr(normal(seeded(3), 3, 3)).Q
    before = CopyingTest(training, heldout, cells=1).of(generated, "")
    after = CopyingTest(training.flip(0) @ turn, heldout.flip(0) @ turn, cells=1).of(generated.flip(0) @ turn, "")
    assert (after.value, after.spread) == (pytest.approx(before.value, abs=1e-3), pytest.approx(before.spread, abs=1e-3))


def test_equal_distances_alone_say_nothing():
    training = normal(seeded(0), 50)
    assert CopyingTest(training, training[:30], cells=1).of(training[:40], "").value == pytest.approx(0, abs=1e-9)


def test_too_few_images_have_no_test():
    with pytest.raises(UsageError, match="at least 20 training and held-out images are needed, got 100 and 19"):
        CopyingTest(normal(seeded(0), 100), normal(seeded(1), 19))
    with pytest.raises(UsageError, match="no cell contains 20"):
        CopyingTest(normal(seeded(0), 100), normal(seeded(1), 50)).of(normal(seeded(2), 10), "")


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_the_spread_of_one_cell_does_not_depend_on_its_weight(monkeypatch, weight):
    """Of a mean of one z-score with variance 4 it is twice that of a standard normal; of two equal ones, sqrt 2 times."""
    points = torch.randn(200, 2, generator=seeded(0))
    for cells, spread in ((1, 2 * 1.959964), (2, 2**0.5 * 1.959964)):
        monkeypatch.setattr(module, "_cell", lambda ours, theirs, count: module._Cell(weight, 0.5, 4.0))
        made = CopyingTest(points, points + 0.01, cells=cells)
        found = made.of(points + 0.02, "held-out images")
        assert found.value == pytest.approx(0.5) and found.spread == pytest.approx(spread)
