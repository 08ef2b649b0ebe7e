"""How far the prior is from the aggregated posterior, in latent space.

A classifier is trained to distinguish held-out posterior samples from prior samples; the area under its ROC curve on points
that it has not seen is 0.5 if the prior equals the posterior, and 1 if the two do not overlap. The metric is a lower bound
on the area of the best classifier.
"""

import numpy as np
import torch
from torch import Generator, Tensor

from priorkit.core import Layout, Progress, no_progress
from priorkit.core.metric import Metric
from priorkit.errors import UsageError
from priorkit.metrics.auc import LEVEL, Scored, clustered_auc
from priorkit.metrics.two_sample import CLASSIFIER, out_of_fold_scores

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
    cluster. In a space of more than `columns` dimensions, the classifier sees that many columns, chosen at random, and the
    mean and root mean square of each layer. Raises UsageError for too few or non-finite points.
    """
    image = torch.arange(len(posterior_u)) if groups is None else groups.cpu()
    _check(posterior_u, prior_u, layout, image, folds)
    clusters = torch.unique(image, return_inverse=True)[1]
    parts = {"all": (posterior_u, prior_u, layout)}
    if len(layout) > 1:
        slices = [slice(start, start + size) for start, size in zip(layout.offsets, layout.sizes, strict=True)]
        alone = [Layout((shape,)) for shape in layout.shapes]
        parts |= {f"layer_{i}": (posterior_u[:, s], prior_u[:, s], alone[i]) for i, s in enumerate(slices)}
    fold_of = _deal(int(clusters.max()) + 1, folds, generator)[clusters], _deal(len(prior_u), folds, generator)
    results = {}
    for name in progress(list(parts), len(parts), "classifiers of posterior against prior"):
        a, b, shapes = parts[name]
        kept = _columns(shapes, columns, generator)
        both = torch.cat([_view(a, shapes, kept), _view(b, shapes, kept)]).cpu().double().numpy()
        results[name] = _area(both, fold_of, clusters, _protocol(len(a), clusters, len(b), shapes, kept, folds))
    return results


def _area(x: np.ndarray, fold_of: tuple[Tensor, Tensor], clusters: Tensor, protocol: str) -> Metric:
    count, others = len(fold_of[0]), len(fold_of[1])
    folds = torch.cat(fold_of).numpy()
    is_posterior = np.repeat(np.array([1, 0]), [count, others])
    scores = out_of_fold_scores(x, is_posterior, folds)
    area = clustered_auc(
        Scored(scores[:count], folds[:count], clusters.numpy()),
        Scored(scores[count:], folds[count:], np.arange(others)),
    )
    return Metric(area.value, area.half_width, protocol)


def _deal(count: int, folds: int, generator: Generator | None) -> Tensor:
    """Return a fold for each of `count` items, at random, of sizes that differ by at most one: (count,)."""
    return torch.randperm(count, generator=generator) % folds


def _columns(layout: Layout, limit: int, generator: Generator | None) -> Tensor | None:
    """Return the columns to use, or None for all."""
    if layout.dim <= limit:
        return None
    return torch.randperm(layout.dim, generator=generator)[:limit].sort().values


def _view(u: Tensor, layout: Layout, kept: Tensor | None) -> Tensor:
    if kept is None:
        return u
    sizes = torch.tensor(layout.sizes, device=u.device)
    mean, square = layout.layer_sums(u) / sizes, layout.layer_sums(u.square()) / sizes
    return torch.cat([u[:, kept.to(u.device)], mean, square.sqrt()], dim=1)


def _protocol(count: int, clusters: Tensor, others: int, layout: Layout, kept: Tensor | None, folds: int) -> str:
    seen = f"all {layout.dim} dimensions"
    if kept is not None:
        seen = f"{len(kept)} of {layout.dim} dimensions and each layer's mean and rms"
    return (
        f"area under the ROC curve in u-space, {count} posterior samples of {int(clusters.max()) + 1} images against "
        f"{others} prior samples, {seen}; {CLASSIFIER}; {folds} folds by image, compared within folds; "
        f"spread: half the {LEVEL:.0%} interval (DeLong, clustered by image, variance doubled for shared training points)"
    )


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
