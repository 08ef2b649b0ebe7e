"""Out-of-distribution detection: scores of a run's held-out images and of other sets, and how well each separates them.

Scores are named by their kind and the layers they use: 'all', 'top:k' (a paper's L > L - k), 'layer:i', or the requested
choice. For every score higher means more in-distribution.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from priorkit.core import Progress, Streams, no_progress
from priorkit.core.single import single_precision
from priorkit.data import Images, Points, Split, load_foreign
from priorkit.data.cache import cache_folder
from priorkit.data.copies import HashedImages
from priorkit.data.made_up import MADE_UP, is_made_up, made_up
from priorkit.errors import UsageError
from priorkit.metrics.detection import Estimate, detection
from priorkit.metrics.features import features_for
from priorkit.metrics.fidelity import FidelityReference
from priorkit.metrics.nearest import NearestImages
from priorkit.metrics.scores import signal_of
from priorkit.workflows.measuring.ood_scores import SCORES, Key, Scorer, chosen_layers
from priorkit.workflows.sampling.draws import Draws
from priorkit.workflows.session import Session

__all__ = ["Detected", "Found", "detect", "open_outsiders"]

log = logging.getLogger(__name__)

BATCH = 250
"""Number of images scored at once. Part of the meaning of a seed: each batch has a separate random stream."""


@dataclass(frozen=True)
class Detected:
    """How well one score separates one set from the held-out images."""

    name: str
    layers: str
    estimates: Mapping[str, Estimate]


@dataclass(frozen=True)
class Found:
    """All scores for one set."""

    data: str
    protocol: str
    detected: list[Detected]

    def as_dict(self) -> dict[str, object]:
        """Return {'protocol', 'scores': {name: {layers: {measure: {'value', 'low', 'high'}}}}}."""
        scores: dict[str, dict[str, object]] = {}
        for item in self.detected:
            figures = {name: estimate.as_dict() for name, estimate in item.estimates.items()}
            scores.setdefault(item.name, {})[item.layers] = figures
        return {"protocol": self.protocol, "scores": scores}


def open_outsiders(session: Session, name: str, trained: HashedImages | None = None) -> tuple[Split, str]:
    """Return a set of out-of-distribution data by name, with the shape of the run's data, and a description of its source;
    the log warns of images that are among those `trained` on."""
    data = session.data
    if is_made_up(name):
        return made_up(name, data.heldout), MADE_UP[name][1] if name in MADE_UP else ""
    root = None if session.config.data.root is None else Path(session.config.data.root)
    spec, split = load_foreign(name, root=root, progress=session.progress)
    if spec.shape != data.spec.shape:
        raise UsageError(
            f"--ood {name}: its data have shape {spec.shape}, those of the run {data.spec.shape}; convert "
            "them to the same shape."
        )
    if len(split) < 2:
        raise UsageError(f"--ood {name}: it has one example, but the measures need at least two; use a larger data set.")
    told = f"{name}, as it stands"
    if not isinstance(split, Points) and split.levels != data.spec.levels:
        told += f" but for its {split.levels} grey levels, which are rounded to the run's {data.spec.levels}"
    elif isinstance(split, Images) and trained is not None and (n := trained.count(split)):
        log.warning("--ood %s: %s of its %s images are training images of the run", name, f"{n:,}", f"{len(split):,}")
    return split, told


@single_precision()
def detect(
    session: Session,
    outsiders: Sequence[str],
    *,
    layers: str = "all",
    scores: Collection[str] = tuple(SCORES),
    images: int = 1_000,
    repeats: int = 1,
    neighbours: int = 1,
    integrate: int = 32,
    seed: int = 0,
    progress: Progress = no_progress,
) -> list[Found]:
    """Score up to `images` held-out images and as many of each set, and measure each of `scores`, entries of `SCORES`.

    Scores are means over `repeats` posterior samples; layers are integrated out with `integrate` samples; `nearest` uses the
    `neighbours`-th nearest training image.
    """
    model, heldout = session.model, session.data.heldout
    if len(heldout) < 2:
        there = "one held-out image" if len(heldout) else "no held-out images"
        raise UsageError(
            f"ood: the data of the run have {there} to compare with, but the measures need at least two; "
            "train on a larger data set."
        )
    train = session.data.train
    trained = HashedImages(train) if isinstance(train, Images) else None
    opened = [(name, *open_outsiders(session, name, trained)) for name in outsiders]
    device = model.backbone.device
    others = model.prior.standard_normal(integrate, Streams(seed).generator("ood.others", device=device))
    nearest = _nearest(session, neighbours, progress) if "nearest" in scores else None
    scorer = Scorer(
        model, chosen_layers(layers, model), scores, Draws(model, seed=seed, progress=progress), repeats, others, nearest
    )
    inside = _scored(scorer, _some(heldout, images, seed, "heldout", session), "heldout", seed, progress)
    if not inside:
        raise UsageError(f"--scores: this run has none of {', '.join(scores)}; choose others, or all.")
    found = []
    for name, split, told in opened:
        x = _some(split, images, seed, name, session)
        outside = _scored(scorer, x, name, seed, progress)
        held = f"{min(images, len(heldout))} held-out images ({session.data.protocol})"
        protocol = f"{held} against {len(x)} of {told}; posterior samples averaged: {repeats}; 95 % intervals by bootstrap"
        if model.prior.trained_stages and scorer.wants("denoised"):
            protocol += f"; denoised from A = {signal_of(model.prior):.4f}"
        protocol += "" if nearest is None else f"; {nearest.protocol()}"
        found.append(Found(name, protocol, _measured(inside, outside, seed, progress)))
    return found


def _nearest(session: Session, neighbours: int, progress: Progress) -> NearestImages | None:
    """Return the training images in the features of the classifier for their shape; None if there is none."""
    data = session.data
    if features_for(data.spec) is None:
        return None
    device = session.model.backbone.device
    reference = FidelityReference(data.spec, data.train, device=device, cache=cache_folder(), progress=progress)
    return NearestImages(reference, neighbours=neighbours)


def _measured(inside: Mapping[Key, Tensor], outside: Mapping[Key, Tensor], seed: int, progress: Progress) -> list[Detected]:
    """Return the measures; scores that are equal for all images, such as the Gaussian prior's log ratio, are left out."""
    kept = [key for key in inside if bool((inside[key] != inside[key][0]).any() | (outside[key] != inside[key][0]).any())]
    return [
        Detected(*key, detection(inside[key], outside[key], generator=Streams(seed).generator("bootstrap", number)))
        for number, key in enumerate(progress(kept, len(kept), "bootstrap"))
    ]


def _some(split: Split, images: int, seed: int, name: str, session: Session) -> Tensor:
    """Return up to `images` of a split, on the run's grid of grey levels, (N, *shape)."""
    order = torch.randperm(len(split), generator=Streams(seed).generator("ood.choose", *name.encode()))
    x = split.batch(order[:images])
    levels = session.data.spec.levels
    if not isinstance(split, Points) and levels is not None and split.levels != levels:
        x = (x * (levels - 1)).round() / (levels - 1)
    return x


def _scored(scorer: Scorer, x: Tensor, name: str, seed: int, progress: Progress) -> dict[Key, Tensor]:
    """Return all scores of all images."""
    starts = range(0, len(x), BATCH)
    if scorer.model.prior.trained_stages and scorer.wants("denoised"):
        scorer.draws.latents(len(x))  # together, before each process scores its images

    def chunk(number: int) -> dict[str, Tensor]:
        start = starts[number]
        device = scorer.model.backbone.device
        scores = scorer.scores(
            x[start : start + BATCH],
            start,
            lambda kind: Streams(seed).generator(kind, *name.encode(), start, device=device),
        )
        return {"/".join(key): values for key, values in scores.items()}

    found = scorer.model.parallel_map(chunk, len(starts), progress=progress, title=f"scores of {name}")
    keys = (name.partition("/") for name in found)
    return {(score, layers): values.cpu() for (score, _, layers), values in zip(keys, found.values(), strict=True)}
