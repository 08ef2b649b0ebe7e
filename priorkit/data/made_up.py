"""Out-of-distribution images made from a data set's images: near misses that need no second data set.

They have the shape and the grey levels of the originals, so that neither size nor rounding distinguishes them.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn.functional import conv2d, pad

from priorkit.core import Streams
from priorkit.data.examples import Images, Points, Split
from priorkit.errors import UsageError

__all__ = ["MADE_UP", "is_made_up", "made_up"]

PREFIX = "ood:"
CONTRAST = 0.5
BLUR = 1 / 16
"""Standard deviation of the blur, as a fraction of the image's height; at least one pixel."""


def is_made_up(name: str) -> bool:
    """Return whether a name refers to one of these sets."""
    return name.startswith(PREFIX)


def made_up(name: str, source: Split, *, seed: int = 0) -> Images:
    """Return the set of that name, one image per image of the source. Raises UsageError for other names and for points."""
    if name not in MADE_UP:
        raise UsageError(f"Unknown synthetic data set {name!r}; choose one of {', '.join(MADE_UP)}.")
    if isinstance(source, Points) or len(source) < 2:
        raise UsageError(f"{name} needs at least two images, and this data set has fewer.")
    x = source.batch(torch.arange(len(source)))
    made, _ = MADE_UP[name]
    levels = (made(x, Streams(seed).generator(name)) * (source.levels - 1)).round().clamp(0, source.levels - 1)
    return Images(levels.to(torch.uint8).numpy(), levels=source.levels)


def _interpolated(x: Tensor, generator: Generator) -> Tensor:
    order = torch.randperm(len(x), generator=generator)
    mixed = torch.empty_like(x)
    # Neighbours in a random circle are a random pairing without fixed points.
    mixed[order] = (x[order] + x[order.roll(1)]) / 2
    return mixed


def _blurred(x: Tensor, generator: Generator) -> Tensor:
    channels, height, width = x.shape[1:]
    sigma = max(1.0, BLUR * height)
    reach = min(round(3 * sigma), height - 1, width - 1)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma).square())
    rows = (kernel / kernel.sum()).expand(channels, 1, 1, -1)
    padded = pad(x, (reach, reach, reach, reach), mode="reflect")
    return conv2d(conv2d(padded, rows, groups=channels), rows.transpose(2, 3), groups=channels)


def _contrast(x: Tensor, generator: Generator) -> Tensor:
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + CONTRAST * (x - mean)


def _constant(x: Tensor, generator: Generator) -> Tensor:
    return torch.rand(*x.shape[:2], 1, 1, generator=generator).expand_as(x)


MADE_UP: dict[str, tuple[Callable[[Tensor, Generator], Tensor], str]] = {
    "ood:interpolated": (_interpolated, "the mean of two held-out images"),
    "ood:blurred": (_blurred, "held-out images, blurred by a Gaussian of 1/16 of the height, at least one pixel"),
    "ood:contrast": (_contrast, "held-out images with half their contrast around their own mean"),
    "ood:constant": (_constant, "images of one value a channel, uniform over the range"),
}
"""The function that makes each set, and its description."""
