"""How far the prior is from the aggregated posterior, in latent space.

Classifiers are trained to distinguish held-out posterior samples from prior samples; the area under the ROC curve of their
combination, on points that it has not seen, is 0.5 if the prior equals the posterior, and 1 if the two do not overlap. The
metric is a lower bound on the area of the best classifier. Each layer has classifiers of its own; all layers together are
judged by the layers' log odds and by classifiers of what several layers share, so that the whole tells what a part tells.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from priorkit.core import Layout, Progress, no_progress
from priorkit.core.metric import Metric
from priorkit.errors import UsageError
from priorkit.metrics.auc import LEVEL, Scored, clustered_auc
from priorkit.metrics.gap_views import joint_views, layer_views
from priorkit.metrics.two_sample import CLASSIFIER, Floats, Integers, View, combined, cross_fitted, of_own_fold

__all__ = ["MIN_FOR_GAP", "gap_auc"]

FOLDS, MIN_PER_FOLD = 5, 10
MIN_FOR_GAP = FOLDS * MIN_PER_FOLD
"""Number of images, and of prior samples, that `gap_auc` needs with its default folds."""


def gap_auc(
    posterior_u: Tensor,
    prior_u: Tensor,
    layout: Layout,
    *,
    generator: Generator | None = None,
    groups: Tensor | None = None,
    folds: int = FOLDS,
    columns: int = 256,
    progress: Progress = no_progress,
) -> dict[str, Metric]:
    """Return the area for all layers ('all') and for each ('layer_0' is the top), between u of shape (N, D) and (M, D).

    `groups` (N,), integers, gives the image of each posterior sample: samples of one image share a fold and count as one
    cluster. The Gaussians among the classifiers are fitted to at most about `columns` dimensions: of larger vectors, some
    chosen at random, of larger maps, averages over blocks. The number of trainings grows with the square of `folds`.
    Raises UsageError for too few or non-finite points.
    """
    image = torch.arange(len(posterior_u)) if groups is None else groups.cpu()
    _check(posterior_u, prior_u, layout, image, folds)
    clusters = torch.unique(image, return_inverse=True)[1]
    fold_of = _deal(int(clusters.max()) + 1, folds, generator)[clusters], _deal(len(prior_u), folds, generator)
    contest = _Contest(fold_of[0].numpy(), fold_of[1].numpy(), clusters.numpy())
    u = torch.cat([posterior_u, prior_u]).cpu().float()
    parts = len(layout) + (len(layout) > 1)
    views = progress(_views(u, layout, columns, generator), parts, "classifiers of posterior against prior")
    odds = [contest.odds(one) for one in views]
    protocol = contest.protocol(layout, columns)
    names = [f"layer_{i}" for i in range(len(layout))]
    if len(layout) == 1:
        return {"all": contest.area(odds[0], protocol)}
    whole = contest.area(contest.together(odds), f"{protocol}; each layer and views across layers weighed by another")
    return {"all": whole} | {name: contest.area(part, protocol) for name, part in zip(names, odds, strict=False)}


def _views(u: Tensor, layout: Layout, columns: int, generator: Generator | None) -> Iterator[list[View]]:
    """Yield the views of each layer, then those across layers; one after the other, since large ones take much memory."""
    for part, shape in zip(layout.columns(u), layout.shapes, strict=True):
        yield layer_views(part, shape, columns, generator)
    if len(layout) > 1:
        yield joint_views(u, layout, columns, generator)


@dataclass(frozen=True)
class _Contest:
    """Posterior samples, the first N of the rows, against prior samples, the other M: their folds and the images."""

    folds: Integers
    prior_folds: Integers
    images: Integers

    @property
    def labels(self) -> Integers:
        return np.repeat(np.array([1, 0]), [len(self.folds), len(self.prior_folds)])

    @property
    def fold_of(self) -> Integers:
        return np.concatenate([self.folds, self.prior_folds])

    def odds(self, views: list[View]) -> Floats:
        """Return the log odds (folds, N + M) of a part for each test fold."""
        scores = cross_fitted(views, self.labels, self.fold_of)
        return combined(scores, self.labels, self.fold_of, rescaled=True)

    def together(self, odds: list[Floats]) -> Floats:
        """Return the log odds (folds, N + M) of several parts together."""
        return combined(np.stack(odds, axis=2), self.labels, self.fold_of, rescaled=False)

    def area(self, odds: Floats, protocol: str) -> Metric:
        own, count = of_own_fold(odds, self.fold_of), len(self.folds)
        area = clustered_auc(
            Scored(own[:count], self.folds, self.images),
            Scored(own[count:], self.prior_folds, np.arange(len(self.prior_folds))),
        )
        return Metric(area.value, area.half_width, protocol)

    def protocol(self, layout: Layout, columns: int) -> str:
        return (
            f"area under the ROC curve in u-space, {len(self.folds)} posterior samples of {self.images.max() + 1} images "
            f"against {len(self.prior_folds)} prior samples, {layout.dim} dimensions; "
            f"{CLASSIFIER}, Gaussians of at most about {columns} columns; "
            f"{self.folds.max() + 1} folds by image, compared within folds; "
            f"spread: half the {LEVEL:.0%} interval (DeLong, clustered by image, variance doubled for shared training "
            "points)"
        )


def _deal(count: int, folds: int, generator: Generator | None) -> Tensor:
    """Return a fold for each of `count` items, at random, of sizes that differ by at most one: (count,)."""
    return torch.randperm(count, generator=generator) % folds


def _check(posterior_u: Tensor, prior_u: Tensor, layout: Layout, image: Tensor, folds: int) -> None:
    for name, u in (("posterior", posterior_u), ("prior", prior_u)):
        if u.ndim != 2 or u.shape[1] != layout.dim:
            raise UsageError(f"gap_auc: expected {name} samples (N, {layout.dim}), got {tuple(u.shape)}")
        if not bool(torch.isfinite(u).all()):
            raise UsageError(
                f"gap_auc: the {name} samples are not all finite; the chains diverged; decrease sampler.step_size"
            )
    if folds < 3:
        raise UsageError(f"gap_auc: expected at least 3 folds (training, weighing, testing), got {folds}")
    if len(image) != len(posterior_u):
        raise UsageError(f"gap_auc: {len(image)} groups for {len(posterior_u)} posterior samples; give one group per sample")
    fewest = min(int(torch.unique(image).numel()), len(prior_u))
    if fewest < MIN_PER_FOLD * folds:
        raise UsageError(f"gap_auc: at least {MIN_PER_FOLD * folds} images and prior samples are needed, got {fewest}")
