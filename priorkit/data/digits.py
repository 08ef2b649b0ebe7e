"""The embedded default: scikit-learn's 1,797 handwritten digits, 8x8, values 0 ... 16 (UCI optical recognition)."""

from pathlib import Path

import numpy as np
import torch

from priorkit.core import DataSpec
from priorkit.data.dataset import Dataset, hash_arrays
from priorkit.data.examples import Images
from priorkit.data.holdout import shuffled

__all__ = ["TRAIN_COUNT", "load_digits"]

TRAIN_COUNT = 1437


def load_digits(root: Path | None = None) -> Dataset:
    """1,437 training and 360 held-out digits, the same for every seed; they need no folder."""
    from sklearn import datasets  # type: ignore[import-untyped]

    bunch = datasets.load_digits()
    pixels = np.ascontiguousarray(bunch.images.astype(np.uint8)[:, None])
    labels = bunch.target.astype(np.int64)
    content = hash_arrays(pixels, labels)
    order = shuffled(len(pixels), content)
    whole = Images(pixels, torch.from_numpy(labels), levels=17)
    return Dataset(
        DataSpec("digits", (1, 8, 8), levels=17, classes=10),
        whole.subset(order[:TRAIN_COUNT]),
        whole.subset(order[TRAIN_COUNT:]),
        content,
        f"{TRAIN_COUNT:,} train / {len(pixels) - TRAIN_COUNT:,} held out, a fixed permutation",
    )
