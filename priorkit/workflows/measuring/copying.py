"""The group `copying`: how near each prior's images are to training images, beside held-out images."""

import logging
from collections.abc import Iterator

from torch import Tensor

from priorkit.errors import UsageError
from priorkit.metrics import Metric
from priorkit.metrics.copying import copied, further_end, nearest_others
from priorkit.metrics.copying_test import CopyingTest
from priorkit.workflows.measuring.image_features import ImageFeatures, image_features
from priorkit.workflows.measuring.shared_work import SharedWork
from priorkit.workflows.measuring.variants import defined

__all__ = ["figures_of_copying"]

log = logging.getLogger(__name__)

NEARER = "that are nearer to a training image than that is to its own nearest other one"
NOT_NEARER = "that are not nearer to a training image than that is to its own nearest other one (authenticity)"


def figures_of_copying(work: SharedWork) -> Iterator[tuple[str, Metric]]:
    """Yield `copied_heldout`, the level to compare with, `copied` with its suffixes, `authenticity`, its complement, and
    the test `c_t`.

    `work.seen` contains the features of the images that the group `fd` has decoded; the others are added. Nothing for data
    without features.
    """
    found = image_features(work)
    if found is None:
        return
    training, others = _training(found)

    def shares(features: Tensor, told: str, independent: int) -> dict[str, Metric]:
        share = copied(features, training, others)
        spread = further_end(share, independent)
        near, far = (_protocol(found, len(training), len(features), told, how) for how in (NEARER, NOT_NEARER))
        return {"copied": Metric(share, spread, near), "authenticity": Metric(1 - share, spread, far)}

    def of_real() -> dict[str, Metric]:
        features = found.heldout()
        return {f"{name}_heldout": each for name, each in shares(features, "held-out images", len(features)).items()}

    yield from defined("copied_heldout", of_real).items()
    yield from found.figures("copied", shares)
    yield from _tests(found, training)


def _tests(found: ImageFeatures, training: Tensor) -> Iterator[tuple[str, Metric]]:
    """Yield the three-sample test; nothing without held-out images."""
    if not len(found.work.data.heldout):
        return
    heldout = found.heldout()
    try:
        test = CopyingTest(training, heldout, seed=found.work.seed)
    except UsageError as error:
        log.warning("c_t is left out: %s", error)
        return

    def measured(features: Tensor, told: str, independent: int) -> dict[str, Metric]:
        against = f"{len(features)} {told}, {len(heldout)} held-out and {len(training)} training images"
        return {"c_t": test.of(features, f"{against}, all rounded to 8 bits; Euclidean distance of {found.about}")}

    yield from found.figures("c_t", measured)


def _training(found: ImageFeatures) -> tuple[Tensor, Tensor]:
    """Return features of the training images (M, F) and the distance of each to its nearest other (M,), from the cache if
    possible."""

    def made() -> dict[str, Tensor]:
        return {"points": found.training(), "nearest": nearest_others(found.training())}

    known = found.extractor is None
    kept = found.training_reference.kept("nearest", made, ("points", "nearest")) if known else made()
    return kept["points"], kept["nearest"]


def _protocol(found: ImageFeatures, training: int, count: int, told: str, how: str) -> str:
    return (
        f"share of {count} {told}, {how} ({training} training images, copies among them counted once); Euclidean distance "
        f"of {found.about}, all rounded to 8 bits; compare with the share of held-out images, copied_heldout; spread: "
        "distance to the further end of the 95 % Wilson interval of a binomial share"
    )
