r"""The three-sample test for copied training data :math:`C_T` (Meehan, Chaudhuri and Dasgupta 2020, "A Non-Parametric Test
to Detect Data-Copying in Generative Models", section 3).

The space is divided into the cells of a k-means of the training images. In each cell the Mann-Whitney test compares the
distances of generated and of held-out images to their nearest training image in the cell; :math:`C_T` is the mean of its
z-scores, weighted by the share of held-out images in the cell. It is far below 0 if generated images are nearer to training
images than held-out ones are (copying), and far above 0 if they are further away (underfitting).
"""

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from priorkit.core import Metric
from priorkit.errors import UsageError
from priorkit.metrics.auc import area_under_roc, share_below
from priorkit.metrics.joint_distances import NORMAL
from priorkit.metrics.squared_distances import nearest, negligible

__all__ = ["CopyingTest"]

IN_CELL = 50
"""Mean number of held-out images in a cell, which chooses the number of cells."""
MOST_CELLS = 50
FEWEST = 20
"""Smallest number of generated images in a cell, as in the paper; here of held-out ones too."""
FITTED = 10_000
"""Largest number of training images for the k-means."""


@dataclass(frozen=True)
class _Cell:
    weight: float
    z: float
    variance: float


class CopyingTest:
    """Tests sets of generated images with the same training and held-out images: features (M, F) and (H, F)."""

    def __init__(self, training: Tensor, heldout: Tensor, *, cells: int | None = None, seed: int = 0) -> None:
        """Raises UsageError for fewer than 20 held-out or training images.

        Costs a k-means of at most 10,000 training images, and for each set of N images N (M / cells + cells) F operations.
        """
        from sklearn.cluster import KMeans  # type: ignore[import-untyped]

        if min(len(training), len(heldout)) < FEWEST:
            counts = f"{len(training)} and {len(heldout)}"
            raise UsageError(f"c_t: at least {FEWEST} training and held-out images are needed, got {counts}")
        self.cells = cells or max(1, min(MOST_CELLS, len(heldout) // IN_CELL))
        chosen = training[torch.linspace(0, len(training) - 1, min(FITTED, len(training))).long()]
        found = KMeans(self.cells, n_init=1, random_state=seed).fit(chosen.double().numpy())
        self.same = negligible(training)
        self.centres = torch.from_numpy(found.cluster_centers_)
        of_training = nearest(training, self.centres)[1]
        self.training = [training[of_training == cell] for cell in range(self.cells)]
        self.heldout = self._distances(heldout)

    def of(self, generated: Tensor, against: str) -> Metric:
        """Return C_T of features (N, F).

        Raises UsageError if no cell contains enough images.
        """
        count = sum(map(len, self.heldout))
        pairs = zip(self._distances(generated), self.heldout, strict=True)
        used = [_cell(ours, theirs, count) for ours, theirs in pairs if min(len(ours), len(theirs)) >= FEWEST]
        if not used:
            raise UsageError(f"c_t: no cell contains {FEWEST} generated and {FEWEST} held-out images; use more samples")
        total = sum(cell.weight for cell in used)
        value = sum(cell.weight * cell.z for cell in used) / total
        variance = sum(cell.weight**2 * cell.variance for cell in used) / total**2
        protocol = (
            "C_T: mean of the z-scores of Mann-Whitney tests within cells, weighted by the held-out images, of the distance "
            f"to the nearest training image of the cell; far below 0: copies; {against}; {len(used)} of {self.cells} cells "
            f"of a k-means of training images, those with at least {FEWEST} generated and held-out images; spread: half the "
            "width of a 95 % interval (normal, DeLong's variance in each cell, at least that of equal distances; training "
            "images and cells fixed)"
        )
        return Metric(value, NORMAL * sqrt(variance), protocol)

    def _distances(self, images: Tensor) -> list[Tensor]:
        """Return for each cell the squared distances of the images in it to its nearest training image."""
        cells = nearest(images, self.centres)[1]
        inside = [images[cells == cell] for cell in range(self.cells)]
        found = [nearest(each, training)[0] for each, training in zip(inside, self.training, strict=True)]
        # Distances that are only rounding are equal.
        return [each.where(each > self.same, 0.0) for each in found]


def _cell(generated: Tensor, heldout: Tensor, count: int) -> _Cell:
    """Return the z-score of one cell, positive if generated images are further away."""
    n, m = len(generated), len(heldout)
    area = float(area_under_roc(generated, heldout))
    # Equal distances, such as 0 of exact copies, lower the variance of the statistic: the usual correction.
    every = torch.cat([generated, heldout]).sort().values
    ties = torch.bincount(torch.searchsorted(every, every)).double()
    null = (n + m + 1 - float((ties**3 - ties).sum()) / ((n + m) * (n + m - 1))) / (12 * n * m)
    if null <= 0:
        return _Cell(m / count, 0.0, 1.0)
    return _Cell(m / count, (area - 0.5) / sqrt(null), max(1.0, _delong(generated, heldout) / null))


def _delong(one: Tensor, other: Tensor) -> float:
    """Return DeLong's variance of the area under the ROC curve."""
    return float(share_below(one, other).var() / len(one) + share_below(other, one).var() / len(other))
