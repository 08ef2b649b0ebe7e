"""No label of a test fold is used for its scores, and the features are what they are said to be."""

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from seeding import seeded

from priorkit.metrics.gap_views import _is_map, layer_views, map_moments
from priorkit.metrics.two_sample import View, combined, cross_fitted, gaussian, linear, trees

FOLDS = np.arange(120) % 4


@pytest.fixture
def points():
    generator = seeded(0)
    labels = torch.arange(120) % 3 == 0
    return torch.randn(120, 5, generator=generator) + 0.7 * labels[:, None], labels.long().numpy()


def views(x):
    return [View(gaussian, x), View(linear, x), View(trees, x, 3)]


@pytest.mark.parametrize("test", range(4))
def test_the_labels_of_a_test_fold_change_none_of_its_scores(points, test):
    x, y = points
    other = np.where(test == FOLDS, 1 - y, y)
    found = [cross_fitted(views(x), labels, FOLDS) for labels in (y, other)]
    assert np.array_equal(found[0][test], found[1][test]) and not np.array_equal(*found)
    odds = [combined(scores, labels, FOLDS, rescaled=True) for scores, labels in zip(found, (y, other), strict=True)]
    assert np.array_equal(odds[0][test], odds[1][test])


def test_no_fold_is_scored_by_a_classifier_that_has_seen_it(points):
    """All points are at one distance from each other: unseen points of a fold have one score, a seen one its own label."""
    _, y = points

    def nearest(known, labels, unseen):
        return labels[np.square(unseen[:, None] - known).sum(2).argmin(1)].astype(float)

    alone = np.eye(120)
    scores = cross_fitted([View(nearest, torch.from_numpy(alone))], y, FOLDS)[..., 0]
    own = scores[FOLDS, np.arange(120)]
    assert len({(fold, round(score, 9)) for fold, score in zip(FOLDS, own, strict=True)}) == 4
    for k in range(4):
        for j in set(range(4)) - {k}:
            assert len(np.unique(scores[k, j == FOLDS])) == 1


def test_the_features_kept_are_those_of_the_largest_kolmogorov_smirnov_distance():
    x = torch.randn(200, 30, generator=seeded(1))
    y, train = np.arange(200) % 2, np.arange(200) < 150
    x[:, 7] += 0.6 * torch.from_numpy(y)
    seen = []

    def recorded(known, labels, unseen):
        seen.append(known)
        return np.zeros(len(unseen))

    View(recorded, x, 6).scores(y, train, ~train)
    known, labels = x.numpy()[train], y[train]
    distances = [ks_2samp(column[labels == 1], column[labels == 0]).statistic for column in known.T]
    kept = np.sort(np.argsort(distances)[-6:])
    assert 7 in kept and np.allclose(seen[0], known[:, kept])


def test_moments_of_a_map_are_means_over_its_positions():
    maps = torch.randn(3, 2, 4, 5, generator=seeded(2), dtype=torch.float64)
    moments = map_moments(maps, None)
    assert moments.shape == (3, 8 + 1 + 4 * (2 + 2))
    for sample, found in zip(maps, moments, strict=True):
        a, b = sample
        expected = [a.mean(), b.mean(), a.pow(2).mean().sqrt(), b.pow(2).mean().sqrt(), a.pow(3).mean(), b.pow(3).mean()]
        expected += [a.pow(4).mean().sqrt(), b.pow(4).mean().sqrt(), (a * b).mean()]
        for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
            places = [(i, j) for i in range(4 - down) for j in range(5) if 0 <= j + right < 5]
            for one, other in ((a, a), (b, b), (a, b), (b, a)):
                expected.append(torch.stack([one[i, j] * other[i + down, j + right] for i, j in places]).mean())
        assert torch.allclose(found, torch.stack(expected))


def test_large_maps_of_many_channels_have_a_bounded_number_of_features():
    u = torch.randn(4, 40 * 8 * 8, generator=seeded(3))
    sizes = {view.fit: view.features.shape[1] for view in layer_views(u, (40, 8, 8), 256, seeded(4))}
    assert sizes[gaussian] <= 256
    assert sizes[linear] == 4 * 40 + 4 * 40 + 16 * 15 // 2 + 4 * 16 * 15


def test_the_gaussian_ratio_is_that_of_the_two_fitted_gaussians():
    """Shrinkage is slight with 4,000 points: within 3 % of the exact log ratio's spread."""
    random = np.random.default_rng(0)
    y = np.repeat([1, 0], 4_000)
    x = np.concatenate([1 + 2 * random.normal(size=(4_000, 2)), random.normal(size=(4_000, 2))])
    unseen = random.normal(size=(200, 2)) * 2
    truth = -((unseen - 1) ** 2).sum(1) / 8 - 2 * np.log(2) + (unseen**2).sum(1) / 2
    assert np.abs(gaussian(x, y, unseen) - truth).mean() < 0.05 * truth.std()


@pytest.mark.parametrize(
    ("shape", "is_map"), [((2, 4, 4), True), ((8, 8, 8), True), ((8, 2, 8), False), ((8, 8, 2), False), ((64,), False)]
)
def test_maps_have_sides_of_four_or_more(shape, is_map):
    assert _is_map(shape) == is_map
