"""The group `coverage`: fidelity and diversity of each prior's images among the held-out ones, each by its own figure."""

from collections.abc import Iterator

import torch
from torch import Tensor

from priorkit.metrics import Metric
from priorkit.metrics.clipped_coverage import ClippedBalls, clipped_coverage
from priorkit.metrics.density_coverage import density_and_coverage
from priorkit.metrics.neighbour_balls import Balls
from priorkit.metrics.precision_recall import precision_and_recall
from priorkit.workflows.measuring.image_features import image_features
from priorkit.workflows.measuring.shared_work import SharedWork

__all__ = ["POINTS", "chosen", "figures_of_coverage"]

POINTS = 10_000
"""Largest number of held-out images, evenly chosen; the cost of their balls is quadratic."""


def figures_of_coverage(work: SharedWork) -> Iterator[tuple[str, Metric]]:
    """Yield precision, recall, density, coverage and their clipped forms, each `NAME_FEATURES_heldout` with its suffixes.

    Raises UsageError if there are too few held-out images; nothing for data without features.
    """
    found = image_features(work)
    if found is None:
        return
    real = Balls(chosen(found.heldout()))
    clipped = ClippedBalls(real)

    def measured(features: Tensor, told: str, independent: int) -> dict[str, Metric]:
        against = found.against(len(features), told, len(real.centres), "held-out")
        met = real.counts(features)
        figures = precision_and_recall(features, real, met, against) | density_and_coverage(features, real, met, against)
        figures["clipped_density"] = clipped.density(features, against)
        figures["clipped_coverage"] = clipped_coverage(features, real, met, against)
        return {f"{name}_{found.name}_heldout": figure for name, figure in figures.items()}

    yield from found.figures("coverage", measured)


def chosen(points: Tensor) -> Tensor:
    """Return at most `POINTS` rows, evenly spaced."""
    return points[torch.linspace(0, len(points) - 1, min(POINTS, len(points))).long()]
