"""A data set: two splits, their format, and the hash that identifies them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from priorkit.core import DataSpec
from priorkit.data.examples import Images, Split
from priorkit.data.holdout import divide
from priorkit.errors import UsageError

__all__ = ["MAX_CLASSES", "Dataset", "Truth", "array", "class_count", "hash_arrays", "integer_labels", "undivided"]

MAX_CLASSES = 2**20
"""A larger label is not a class index: 2**31 - 1, say, marks a missing label."""


class Truth(Protocol):
    """A known distribution of points in the plane."""

    cells: int

    def log_density(self, x: Tensor) -> Tensor:
        """Return the exact log density, (N, 2) -> (N,)."""

    def cell(self, x: Tensor) -> Tensor:
        """Return which of `cells` parts of equal mass contains each point, (N, 2) -> (N,), -1 for none."""


@dataclass(frozen=True)
class Dataset:
    """The data on which a run is trained and evaluated."""

    spec: DataSpec
    train: Split
    heldout: Split
    content: str
    """Hexadecimal hash of the content of both splits."""
    protocol: str
    """A short description of how the splits were made; shown with every metric."""
    truth: Truth | None = None
    """The true distribution of the points, if it is known."""

    @property
    def log_density(self) -> Callable[[Tensor], Tensor] | None:
        """The exact log density, (N, 2) -> (N,), if there is one."""
        return None if self.truth is None else self.truth.log_density


def class_count(labels: Tensor | None) -> int:
    """Return the number of classes of labels 0 ... K - 1; 0 without labels."""
    return 0 if labels is None else int(labels.max()) + 1


def undivided(spec: DataSpec, images: Split, content: str) -> Dataset:
    """Return all images of a source without splits as training data; the caller holds out a share."""
    _, none, protocol = divide(len(images), content, 0, spec.name)
    return Dataset(spec, images, images.subset(none), content, protocol)


def hash_arrays(*arrays: NDArray[np.generic] | None) -> str:
    """Return the SHA-256 of types, shapes and bytes."""
    digest = hashlib.sha256()
    for item in arrays:
        digest.update(b"none" if item is None else f"{item.dtype.str}{item.shape}".encode())
        if item is not None:
            digest.update(np.ascontiguousarray(item).data)
    return digest.hexdigest()


def array(
    images: NDArray[np.uint8],
    labels: ArrayLike | None = None,
    *,
    name: str = "array",
    levels: int = 256,
    holdout: float | None = None,
) -> Dataset:
    """Return a data set of images (N, C, H, W), uint8 in 0 ... levels - 1, and labels (N,), integers from 0.

    Raises UsageError for other shapes, types or values, or if `holdout` leaves a split empty.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or 0 in images.shape:
        raise UsageError(
            f"{name}: expected images as uint8 (N, C, H, W) without an empty axis, got {images.dtype} {images.shape}."
        )
    if int(images.max()) >= levels:
        raise UsageError(f"{name}: a pixel is {images.max()}, but the largest of {levels} levels is {levels - 1}.")
    classes = None if labels is None else integer_labels(np.asarray(labels), len(images), name)
    content = hash_arrays(images, classes)
    rows, held, protocol = divide(len(images), content, holdout, name)
    pixels = np.require(images, requirements=["C", "W"])
    whole = Images(pixels, None if classes is None else torch.from_numpy(classes), levels=levels)
    spec = DataSpec(name, whole.shape, levels, class_count(whole.labels))
    return Dataset(spec, whole.subset(rows), whole.subset(held), content, protocol)


def integer_labels(labels: NDArray[np.generic], count: int, name: str) -> NDArray[np.int64]:
    """Return valid labels (N,) as int64. Raises UsageError naming the data set if they are invalid."""
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise UsageError(f"{name}: expected {count} integer labels, got {labels.dtype} {labels.shape}.")
    if int(labels.min()) < 0:
        raise UsageError(f"{name}: labels start at 0, got {labels.min()}.")
    if int(labels.max()) >= MAX_CLASSES:
        raise UsageError(f"{name}: labels are class numbers below {MAX_CLASSES:,}, got {labels.max()}.")
    return labels.astype(np.int64)
