"""Twelve kinds of corruption of a set of images, each with three increasing strengths, for `ladder.py`.

A kind makes all of its sets from one draw of its random numbers (the same noise, smaller or larger; the same partner of each
image; nested choices of images), so that sets of one kind differ by their strength alone.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

__all__ = ["KINDS", "Corrupted", "Pool", "all_sets"]


@dataclass(frozen=True)
class Pool:
    """What sets are made of; images (N, C, H, W) are uint8."""

    base: Tensor
    """Held-out images: the level, and what is corrupted."""
    heldout: Tensor
    """All held-out images, for sets of fewer classes."""
    labels: Tensor
    """Their classes, (H,)."""
    training: Tensor
    """Training images, to be repeated, and to find the principal components of."""

    @cached_property
    def components(self) -> Tensor:
        """Directions of the training images' variance, (D, D), the largest last."""
        centred = self.training.flatten(1).float()
        centred = centred - centred.mean(0)
        vectors: Tensor = torch.linalg.eigh(centred.T @ centred).eigenvectors
        return vectors


@dataclass(frozen=True)
class Corrupted:
    """A set of one kind and strength."""

    kind: str
    strength: str
    images: Tensor
    """(N, C, H, W), uint8."""
    units: Tensor
    """Which independent image each one is made of, (N,), from 0."""


Make = Callable[[Pool, float, Generator], Tensor]


def repeats(pool: Pool, share: float, generator: Generator) -> Tensor:
    """A few training images, each many times."""
    return pool.training[repeated(len(pool.base), share)]


def repeated(count: int, share: float) -> Tensor:
    """Indices (count,) of the first images, a share of `count`, each as often as the others."""
    return torch.arange(count) * max(1, round(share * count)) // count


def classes(pool: Pool, share: float, generator: Generator) -> Tensor:
    """Images of the first classes alone, in a random order."""
    kept = max(1, round(share * (int(pool.labels.max()) + 1)))
    order = torch.randperm(len(pool.heldout), generator=generator)
    found = order[pool.labels[order] < kept][: len(pool.base)]
    if len(found) < len(pool.base):
        raise SystemExit(f"ladder: {kept} classes have only {len(found)} held-out images of the {len(pool.base)} of a set.")
    return pool.heldout[found]


def averages(pool: Pool, weight: float, generator: Generator) -> Tensor:
    """Each image mixed with another."""
    x = pool.base.float()
    # A shift of a random order has no image as its own partner.
    order = torch.randperm(len(x), generator=generator)
    other = torch.empty_like(order)
    other[order] = order.roll(1)
    return rounded((1 - weight) * x + weight * x[other])


def blur(pool: Pool, sigma: float, generator: Generator) -> Tensor:
    """A Gaussian blur; sigma in 1/32 of the height."""
    x, width = pool.base.float(), sigma * pool.base.shape[2] / 32
    reach = int(4 * width) + 1
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / width).square())
    weights = (weights / weights.sum()).expand(x.shape[1], 1, 1, -1)
    for side in ((reach, reach, 0, 0), (0, 0, reach, reach)):
        kernel = weights if side[0] else weights.mT
        x = torch.nn.functional.conv2d(torch.nn.functional.pad(x, side, mode="replicate"), kernel, groups=x.shape[1])
    return rounded(x)


def noise(pool: Pool, deviation: float, generator: Generator) -> Tensor:
    """White Gaussian noise, in grey levels."""
    return rounded(pool.base + deviation * torch.randn(pool.base.shape, generator=generator))


def jpeg(pool: Pool, quality: float, generator: Generator) -> Tensor:
    """JPEG files of that quality."""
    return torch.stack([_through_jpeg(image, int(quality)) for image in pool.base])


def _through_jpeg(image: Tensor, quality: int) -> Tensor:
    file, grey = io.BytesIO(), len(image) == 1
    pixels = image[0] if grey else image.permute(1, 2, 0)
    Image.fromarray(pixels.numpy()).save(file, "JPEG", quality=quality)
    read = torch.from_numpy(np.array(Image.open(file)))
    return read[None] if grey else read.permute(2, 0, 1)


def levels(pool: Pool, count: float, generator: Generator) -> Tensor:
    """That many grey levels in each channel."""
    step = 255 / (count - 1)
    return rounded((pool.base / step).round() * step)


def blocks(pool: Pool, share: float, generator: Generator) -> Tensor:
    """Pixels in a random order within blocks, of another order in each block of each image."""
    side = int(share * pool.base.shape[2])
    count, channels, height, width = pool.base.shape
    rows, columns = height // side, width // side
    cut = pool.base[:, :, : rows * side, : columns * side].reshape(count, channels, rows, side, columns, side)
    cut = cut.permute(0, 2, 4, 1, 3, 5).reshape(count, rows, columns, channels, side * side)
    order = torch.rand(count, rows, columns, 1, side * side, generator=generator).argsort(-1)
    mixed = cut.gather(-1, order.expand_as(cut)).reshape(count, rows, columns, channels, side, side)
    images = pool.base.clone()
    images[:, :, : rows * side, : columns * side] = mixed.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
    return images


def colour(pool: Pool, shift: float, generator: Generator) -> Tensor:
    """The first channel brighter and the last darker, by grey levels; grey images brighter."""
    channels = pool.base.shape[1]
    shifts = shift * torch.linspace(1, -1, channels) if channels > 1 else torch.full((1,), shift)
    return rounded(pool.base + shifts[:, None, None])


def low_rank(pool: Pool, share: float, generator: Generator) -> Tensor:
    """Reconstructions from the first principal components of the training images; a share of all of them."""
    x, mean = pool.base.flatten(1).float(), pool.training.flatten(1).float().mean(0)
    kept = pool.components[:, -max(1, round(share * len(mean))) :]
    return rounded(mean + (x - mean) @ kept @ kept.T).reshape(pool.base.shape)


def occlusion(pool: Pool, share: float, generator: Generator) -> Tensor:
    """A grey square at a random place; its side as a share of the image's."""
    count, _, height, width = pool.base.shape
    side = max(1, round(share * height))
    # Centres, so that the square of a larger side has the same place.
    places = torch.rand(2, count, 1, generator=generator) * torch.tensor([height, width])[:, None, None]
    inside = [(torch.arange(size) + 0.5 - at).abs() <= side / 2 for size, at in zip((height, width), places, strict=True)]
    return pool.base.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 127)


def contrast(pool: Pool, factor: float, generator: Generator) -> Tensor:
    """Less contrast around each image's mean."""
    x = pool.base.float()
    mean = x.mean((1, 2, 3), keepdim=True)
    return rounded(mean + factor * (x - mean))


def rounded(images: Tensor) -> Tensor:
    """As uint8."""
    return images.round().clamp(0, 255).byte()


KINDS: dict[str, tuple[Make, str, tuple[float, float, float]]] = {
    "repeats": (repeats, "distinct training images, share of the set", (0.5, 0.1, 0.02)),
    "classes": (classes, "share of the classes", (0.8, 0.5, 0.2)),
    "averages": (averages, "weight of another image", (0.1, 0.25, 0.5)),
    "blur": (blur, "sigma, pixels of 32", (0.5, 1, 2)),
    "noise": (noise, "deviation, levels of 256", (8, 24, 64)),
    "jpeg": (jpeg, "quality", (40, 15, 5)),
    "levels": (levels, "grey levels", (16, 6, 3)),
    "blocks": (blocks, "side of a block, share of the image", (1 / 16, 1 / 8, 1 / 4)),
    "colour": (colour, "shift, levels of 256", (8, 24, 64)),
    "low rank": (low_rank, "share of the components", (1 / 12, 1 / 48, 1 / 192)),
    "occlusion": (occlusion, "side, share of the image", (0.125, 0.25, 0.5)),
    "contrast": (contrast, "factor", (0.8, 0.5, 0.2)),
}
"""What makes a set, what its strengths are, and they, from the weakest corruption to the strongest."""


def all_sets(pool: Pool, seed: int = 0) -> list[Corrupted]:
    """The level (kind ''), then every kind at every strength; all strengths of a kind draw the same random numbers."""
    units = torch.arange(len(pool.base))
    found = [Corrupted("", "", pool.base, units)]
    for index, (kind, (make, _, strengths)) in enumerate(KINDS.items()):
        for strength in strengths:
            images = make(pool, strength, Generator().manual_seed(1_000 * seed + index))
            independent = repeated(len(units), strength) if make is repeats else units
            found.append(Corrupted(kind, f"{strength:.3g}", images, independent))
    return found
