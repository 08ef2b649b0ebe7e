"""The made-up sets: shapes, grey levels, and what each does to an image."""

import numpy as np
import pytest
import torch

from priorkit.data import Images, Points
from priorkit.data.made_up import MADE_UP, is_made_up, made_up
from priorkit.errors import UsageError


@pytest.fixture(params=[(1, 8, 8, 17), (3, 12, 12, 256)], ids=["grey", "colour"])
def source(request):
    channels, height, width, levels = request.param
    random = np.random.default_rng(0)
    return Images(random.integers(0, levels, (30, channels, height, width), dtype=np.uint8), levels=levels)


def pixels(split):
    return split.batch(torch.arange(len(split)))


@pytest.mark.parametrize("name", MADE_UP)
def test_like_the_originals_and_the_same_each_time(name, source):
    made = made_up(name, source)
    assert (len(made), made.shape, made.levels) == (len(source), source.shape, source.levels)
    x = pixels(made)
    assert x.min() >= 0 and x.max() <= 1
    assert torch.allclose(x * (source.levels - 1), (x * (source.levels - 1)).round(), atol=1e-4)
    assert torch.equal(x, pixels(made_up(name, source)))
    assert not torch.equal(x, pixels(source))


def test_what_is_done(source):
    original = pixels(source)
    half = 0.5 / (source.levels - 1) + 1e-6  # rounding
    constant = pixels(made_up("ood:constant", source))
    assert (constant.flatten(2).std(2) < 1e-6).all() and constant[:, 0, 0, 0].unique().numel() > 5
    contrast = pixels(made_up("ood:contrast", source))
    mean = original.mean((1, 2, 3), keepdim=True)
    assert torch.allclose(contrast - mean, 0.5 * (original - mean), atol=half)
    blurred = pixels(made_up("ood:blurred", source))
    assert blurred.flatten(2).std(2).mean() < 0.5 * original.flatten(2).std(2).mean()


def test_interpolations_are_of_two_different_images(source):
    original, mixed = pixels(source), pixels(made_up("ood:interpolated", source))
    half = 0.5 / (source.levels - 1) + 1e-6
    pairs = (original[:, None] + original) / 2
    near = (pairs[None] - mixed[:, None, None]).abs().flatten(3).amax(3) <= half
    assert all(bool((found & ~torch.eye(len(original), dtype=torch.bool)).any()) for found in near)


def test_a_constant_image_stays_as_it_is_when_blurred():
    flat = Images(np.full((2, 1, 9, 9), 200, dtype=np.uint8))
    assert torch.equal(pixels(made_up("ood:blurred", flat)), pixels(flat))


def test_refused(source):
    assert is_made_up("ood:sepia") and not is_made_up("mnist")
    with pytest.raises(UsageError, match="ood:blurred"):
        made_up("ood:sepia", source)
    with pytest.raises(UsageError, match="two images"):
        made_up("ood:blurred", Points(torch.zeros(5, 2)))
