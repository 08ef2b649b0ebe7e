"""The distance of an image's features to those of the training images: a baseline of out-of-distribution detection without
generator and prior (Sun et al. 2022, "Out-of-Distribution Detection with Deep Nearest Neighbors")."""

from functools import cached_property

import torch
from torch import Tensor

from priorkit.errors import UsageError
from priorkit.metrics.fidelity import FidelityReference

__all__ = ["NearestImages"]

DISTANCES = 2**24
"""Number of distances computed at once."""


class NearestImages:
    """Scores images by their k-th nearest training image, on the features of the built-in classifier for their shape."""

    def __init__(self, reference: FidelityReference, *, neighbours: int = 1) -> None:
        """`reference` has the training images, `neighbours` is k. Raises UsageError unless k is between 1 and their
        number."""
        if not 1 <= neighbours <= len(reference.split):
            raise UsageError(
                f"--neighbours {neighbours}: there are {len(reference.split)} training images; use a number from 1 to that."
            )
        self.reference, self.neighbours = reference, neighbours

    @cached_property
    def points(self) -> Tensor:
        """Return features of the training images, (N, F), computed or read from the cache on first use."""
        return self.reference.kept_features()

    def scores(self, images: Tensor) -> Tensor:
        """Return minus the Euclidean distance to the k-th nearest training image, (B, C, H, W) in [0, 1] -> (B,), on the
        CPU."""
        features = self.reference.features(images)
        # Exact differences: the faster matrix product would not give 0 between two equal images.
        parts = torch.split(features, max(1, DISTANCES // len(self.points)))
        distances = (torch.cdist(part, self.points, compute_mode="donot_use_mm_for_euclid_dist") for part in parts)
        return -torch.cat([part.kthvalue(self.neighbours, dim=1).values for part in distances])

    def protocol(self) -> str:
        """Return a description of distance, images and features."""
        kind, which = self.reference.network.kind, "" if self.neighbours == 1 else f"{_ordinal(self.neighbours)} "
        return (
            f"nearest: distance to the {which}nearest of {len(self.reference.split)} training images on {kind.features} "
            f"standardised features of the '{kind.name}' classifier (weights {self.reference.network.fingerprint}), which "
            "was trained with class labels"
        )


def _ordinal(k: int) -> str:
    """Return '2nd' for 2, and so on."""
    ending = "th" if k % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(k % 10, "th")
    return f"{k}{ending}"
