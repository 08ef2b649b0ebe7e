"""Checks of feature extractors, on random images."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from priorkit.core import FeatureExtractor, Features
from priorkit.errors import UsageError
from priorkit.metrics import extracted
from priorkit.testing.body import Body, NotApplicable
from priorkit.testing.surroundings import untouched

__all__ = ["CHECKS"]

SHAPES = ((1, 8, 8), (1, 28, 28), (3, 32, 32))
"""(C, H, W): an extractor for one set of images accepts only the shape of that set."""
IMAGES = 6


def _built(plugin: Any) -> FeatureExtractor:
    try:
        made: FeatureExtractor = plugin()
    except UsageError as error:
        raise NotApplicable(f"it cannot be built here: {error}") from error
    made.name = getattr(made, "name", "mine")  # if it is declared, the entry point's name replaces that of the class
    return made


def _seen(extractor: FeatureExtractor) -> tuple[Tensor, Features]:
    """Return images (6, C, H, W), uint8, of the first shape that it accepts, and their features."""
    for shape in SHAPES:
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (IMAGES, *shape), dtype=torch.uint8, generator=generator)
        try:
            return images, _features(extractor, images)
        except UsageError as error:
            refusal = error
    raise NotApplicable(f"it takes no images of {', '.join(map(str, SHAPES))}: {refusal}")


def _features(extractor: FeatureExtractor, images: Tensor) -> Features:
    with torch.no_grad():
        found = extractor(images)
    assert isinstance(found, Features), f"it gives {type(found).__name__}, not priorkit.core.Features"
    return found


def each_image_has_a_row(plugin: Any, given: Mapping[str, Any]) -> None:
    """For each image it returns one row of finite features, and one of finite logits if it classifies."""
    extractor = _built(plugin)
    images, _ = _seen(extractor)
    try:
        extracted(extractor, [images])
    except UsageError as error:
        raise AssertionError(str(error)) from error


def it_says_what_it_is(plugin: Any, given: Mapping[str, Any]) -> None:
    """It describes network, layer and preprocessing in `about`, and its fingerprint is the same each time it is built."""
    first, again = _built(plugin), _built(plugin)
    assert getattr(first, "about", ""), "its `about` does not say what the features are; each metric's protocol shows that"
    assert first.fingerprint == again.fingerprint, "its fingerprint changes each time it is built; hash the weights instead"


def features_do_not_depend_on_the_batch(plugin: Any, given: Mapping[str, Any]) -> None:
    """The features of an image are the same alone and among others."""
    extractor = _built(plugin)
    images, whole = _seen(extractor)
    for index in range(2):
        alone = _features(extractor, images[index : index + 1]).vectors[0]
        error = float((alone - whole.vectors[index]).abs().max() / whole.vectors.abs().max().clamp(min=1))
        assert error < 1e-3, f"image {index} has other features alone than among {IMAGES}: they differ by up to {error:.2g}"


def features_are_repeatable(plugin: Any, given: Mapping[str, Any]) -> None:
    """Built twice it returns the same features, and it changes no global random state."""
    with untouched("building and calling it"):
        (_, first), (_, again) = _seen(_built(plugin)), _seen(_built(plugin))
    assert torch.equal(first.vectors, again.vectors), "built twice, it gives different features of the same images"


CHECKS: list[Body] = [
    each_image_has_a_row,
    it_says_what_it_is,
    features_do_not_depend_on_the_batch,
    features_are_repeatable,
]
