"""The kit's checks of feature extractors: a sound one passes, and each check has one that it fails."""

import pytest
import torch

from priorkit.core import FeatureExtractor, Features
from priorkit.errors import UsageError
from priorkit.testing import NotApplicable, checks


class Means(FeatureExtractor):
    """Mean and largest value of each image."""

    about = "mean and maximum of the pixels"
    fingerprint = "1"

    def __call__(self, images):
        scaled = images.float().flatten(1) / 255
        return Features(torch.stack([scaled.mean(1), scaled.amax(1)], dim=1))


class Short(Means):
    def __call__(self, images):
        return Features(super().__call__(images).vectors[1:])


class Infinite(Means):
    def __call__(self, images):
        return Features(super().__call__(images).vectors / 0)


class Silent(Means):
    about = ""


class Renamed(Means):
    def __init__(self, **how):
        super().__init__(**how)
        self.fingerprint = str(id(self))


class Centred(Means):
    def __call__(self, images):
        vectors = super().__call__(images).vectors
        return Features(vectors - vectors.mean(0))


class Drawn(Means):
    def __call__(self, images):
        return Features(super().__call__(images).vectors + 1e-6 * torch.rand(len(images), 1))


class Seeded(Means):
    def __init__(self, **how):
        super().__init__(**how)
        torch.manual_seed(20_261)


BROKEN = {
    "each_image_has_a_row": (Short, Infinite),
    "it_says_what_it_is": (Silent, Renamed),
    "features_do_not_depend_on_the_batch": (Centred,),
    "features_are_repeatable": (Drawn, Seeded),
}
CHECKS = {check.name: check for check in checks("extractor")}


def test_every_check_has_an_extractor_that_it_fails():
    assert set(CHECKS) == set(BROKEN)


@pytest.mark.parametrize("name", BROKEN)
def test_a_sound_extractor_passes(name):
    CHECKS[name](Means)


@pytest.mark.parametrize(("name", "broken"), [(name, one) for name, many in BROKEN.items() for one in many])
def test_a_broken_extractor_fails(name, broken):
    with pytest.raises(AssertionError):
        CHECKS[name](broken)


def test_one_that_cannot_be_built_here_is_skipped():
    class Weightless(Means):
        def __init__(self, **how):
            raise UsageError("its weights are not here")

    with pytest.raises(NotApplicable, match="its weights are not here"):
        CHECKS["each_image_has_a_row"](Weightless)
