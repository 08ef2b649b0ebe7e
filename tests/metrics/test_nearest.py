"""The nearest training image in feature space: against distances taken one by one, at training images, and kept."""

import pytest
import torch
from test_features import computed, everything, worth_keeping  # noqa: F401

from priorkit.data import load
from priorkit.data.examples import Points
from priorkit.errors import UsageError
from priorkit.metrics import FidelityReference
from priorkit.metrics import nearest as module
from priorkit.metrics.nearest import NearestImages


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def nearest(digits, images, **options):
    return NearestImages(FidelityReference(digits.spec, Points(images)), **options)


@pytest.mark.parametrize("k", [1, 3])
def test_scores_are_minus_the_kth_smallest_distance(digits, monkeypatch, k):
    """One by one in double precision, whatever the number of distances at once."""
    training, images = everything(digits.train)[:50], everything(digits.heldout)[:9]
    made = nearest(digits, training, neighbours=k)
    monkeypatch.setattr(module, "DISTANCES", 110)
    points, features = (made.reference.features(x).double() for x in (training, images))
    wanted = [-sorted(float((one - point).square().sum().sqrt()) for point in points)[k - 1] for one in features]
    torch.testing.assert_close(made.scores(images), torch.tensor(wanted), rtol=1e-5, atol=1e-5)


def test_a_training_image_is_its_own_nearest_and_not_its_own_second(digits):
    training = everything(digits.train)[:40]
    assert (nearest(digits, training).scores(training) == 0).all()
    assert (nearest(digits, training, neighbours=2).scores(training) < 0).all()
    twice = nearest(digits, torch.cat([training, training]), neighbours=2)
    assert (twice.scores(training) == 0).all()


def test_what_is_no_digit_is_further_away(digits):
    """Images of one grey value each are no digits: all held-out digits but a few are nearer to a training digit."""
    made = nearest(digits, everything(digits.train))
    grey = (torch.arange(1, 16) / 16)[:, None, None, None].expand(-1, 1, 8, 8)
    inside, outside = made.scores(everything(digits.heldout)), made.scores(grey)
    assert (inside[:, None] > outside).float().mean() > 0.9


def test_training_features_are_computed_once(digits, tmp_path, monkeypatch, worth_keeping):  # noqa: F811
    images = everything(digits.heldout)[:5]
    first = NearestImages(FidelityReference(digits.spec, digits.train, cache=tmp_path)).scores(images)
    seen = computed(monkeypatch)
    again = NearestImages(FidelityReference(digits.spec, digits.train, cache=tmp_path)).scores(images)
    assert len(seen) == 1 and torch.equal(first, again)


@pytest.mark.parametrize("k", [0, 6])
def test_k_is_a_number_of_training_images(digits, k):
    with pytest.raises(UsageError, match=r"neighbours.*5 training images"):
        nearest(digits, everything(digits.train)[:5], neighbours=k)


@pytest.mark.parametrize(
    ("k", "name"),
    [(2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (13, "13th"), (21, "21st"), (113, "113th")],
)
def test_neighbours_have_their_ordinal(k, name):
    assert module._ordinal(k) == name
