"""Fréchet distances of several sets of generated images to one set of real images, with intervals.

One bootstrap resamples the real images and the generated images together: in each resample all sets are compared with the
same real images, and rows of equal index are selected together, since sets that start from the same noise correspond. What
the sets have in common then cancels in differences of their distances, as it does in the distances themselves.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from priorkit.errors import UsageError
from priorkit.metrics.frechet import frechet_distance, statistics, weighted_statistics

__all__ = ["JointDistances", "interval", "joint_distances"]

RESAMPLES = 200
NORMAL = 1.959964
"""Standard deviations to either side of the mean that hold 95 % of a normal distribution."""


@dataclass(frozen=True)
class JointDistances:
    """Distances by name of the set, and those of the resamples."""

    values: Mapping[str, float]
    resampled: Mapping[str, Tensor] = field(repr=False)
    """(R,) each, float64; entry r of every set is against the same resample of the real images."""

    def half_width(self, name: str) -> float:
        """Return half a 95 % interval of a distance."""
        return NORMAL * float(self.resampled[name].std())

    def share_closed(self, prior: str, gaussian: str, floor: str) -> tuple[float, float]:
        """Return (Gaussian - prior) / (Gaussian - floor) and half its 95 % interval.

        Raises UsageError if the Gaussian prior is not significantly above the floor: then there is no gap to close.
        """
        gap, gaps = self._difference(gaussian, floor)
        if gap <= NORMAL * float(gaps.std()):
            raise UsageError("the Gaussian prior and posterior samples are indistinguishable, so there is no gap to close")
        gain, gains = self._difference(gaussian, prior)
        share = gain / gap
        # The ratio to first order: a resampled quotient has no variance if its denominator comes near zero.
        return share, NORMAL * float((gains - share * gaps).std()) / gap

    def _difference(self, one: str, other: str) -> tuple[float, Tensor]:
        return self.values[one] - self.values[other], self.resampled[one] - self.resampled[other]


def interval(resamples: int = RESAMPLES) -> str:
    """Return the part of a protocol that describes the spread."""
    return (
        f"spread: half the width of a 95 % interval (normal, from {resamples} bootstrap resamples of the generated and of "
        "the real images, in each the same real images for all)"
    )


def joint_distances(
    sets: Mapping[str, Tensor],
    real: Tensor,
    *,
    distinct: Mapping[str, int] | None = None,
    generator: Generator | None = None,
    resamples: int = RESAMPLES,
) -> JointDistances:
    """Return squared Fréchet distances of sets of features (N, F) to real ones (M, F), with their joint bootstrap.

    `distinct` names sets whose rows i and i + n come from the same image, with their n: those are resampled by image.
    """
    generated = {name: features.double() for name, features in sets.items()}
    real, origins = real.double(), distinct or {}
    fitted = statistics(real)
    values = {name: frechet_distance(statistics(features), fitted) for name, features in generated.items()}
    found: dict[str, list[float]] = {name: [] for name in generated}
    for _ in range(resamples):
        reference = weighted_statistics(real, _counts(len(real), generator))
        drawn: dict[int, Tensor] = {}
        for name, features in generated.items():
            images = min(origins.get(name, len(features)), len(features))
            if images not in drawn:
                drawn[images] = _counts(images, generator)
            counts = drawn[images][torch.arange(len(features)) % images]
            found[name].append(frechet_distance(weighted_statistics(features, counts), reference))
    return JointDistances(values, {name: torch.tensor(each, dtype=torch.float64) for name, each in found.items()})


def _counts(images: int, generator: Generator | None) -> Tensor:
    """Return how often each of so many images is in one resample, (images,)."""
    return torch.bincount(torch.randint(images, (images,), generator=generator), minlength=images)
