"""Images that are in two splits: metrics on images of the training data say nothing about new ones."""

import hashlib
import logging
from collections.abc import Iterator, Set
from functools import cached_property

import torch

from priorkit.data.dataset import Dataset
from priorkit.data.examples import Images

__all__ = ["HashedImages", "tell_of_copies"]

log = logging.getLogger(__name__)

OF_USERS = ("zip", "folder")
BLOCK = 2048
"""Number of images hashed at once."""


class HashedImages:
    """A split in which others are looked up; its images are hashed once, on first use."""

    def __init__(self, images: Images) -> None:
        self._images = images

    @cached_property
    def known(self) -> Set[bytes]:
        """The hash of each image's pixels."""
        return set(_digests(self._images))

    def count(self, images: Images) -> int:
        """Return how many of `images`, of the same shape and grey levels, are among them pixel by pixel."""
        return sum(digest in self.known for digest in _digests(images))


def tell_of_copies(data: Dataset) -> None:
    """Warn in the log if held-out images of a user's archives or folders are also training images.

    Takes 0.2 s for 70,000 small images, so it is done only at the start of a training. Stores are too large for it.
    """
    if data.spec.name.partition(":")[0] not in OF_USERS:
        return
    if isinstance(data.train, Images) and isinstance(data.heldout, Images) and len(data.heldout):
        count = HashedImages(data.train).count(data.heldout)
        if count:
            log.warning(
                "%s: %s of %s held-out images are also among the training images, pixel by pixel, so metrics "
                "on held-out images are too good; remove the copies",
                data.spec.name, f"{count:,}", f"{len(data.heldout):,}",
            )  # fmt: skip


def _digests(images: Images) -> Iterator[bytes]:
    """Yield a hash of each image's pixels."""
    for start in range(0, len(images), BLOCK):
        block = images.integers(torch.arange(start, min(start + BLOCK, len(images)), device="cpu")).numpy()
        yield from (hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in block)
