"""The group `fd`: the Fréchet distance of each prior's images to the training images and to the held-out ones, and the
share of the gap between the Gaussian prior and posterior samples that the learned prior closes."""

from collections.abc import Iterator
from functools import cached_property

from torch import Tensor

from priorkit.core import Examples, Streams
from priorkit.data.cache import cache_folder
from priorkit.metrics import FidelityReference, Metric, features_for
from priorkit.metrics.joint_distances import JointDistances, interval, joint_distances
from priorkit.workflows.measuring.shared_work import SharedWork
from priorkit.workflows.measuring.variants import defined, figures_of_priors, priors_of

__all__ = ["FLOOR", "figures_of_features"]

GAUSSIAN = "_gaussian"
FLOOR = "_posterior"
"""The suffix of metrics of posterior samples of training images."""


def figures_of_features(work: SharedWork) -> Iterator[tuple[str, Metric]]:
    """Yield `fd_NAME` to the training images, `fd_NAME_heldout` to the held-out ones, `share_closed`; each image is made
    once.

    The features of all images are stored in `work.seen`. Nothing for data without a feature network.
    """
    if features_for(work.data.spec) is None:
        return
    bench = _Features(work)
    yield from bench.to_training_images()
    yield from defined(f"{bench.train.name}_heldout", bench.to_heldout_images).items()
    yield from defined("share_closed", bench.shares).items()


class _Features:
    def __init__(self, work: SharedWork) -> None:
        self.work = work
        self.model, self.data, self.samples, self.seen = work.model, work.data, work.samples, work.seen

    @cached_property
    def train(self) -> FidelityReference:
        return self._reference(self.data.train, "training")

    @cached_property
    def heldout(self) -> FidelityReference:
        return self._reference(self.data.heldout, "held-out")

    @cached_property
    def distances(self) -> JointDistances:
        """Return the distances of all sets to the held-out images; the floor's images are of training images, possibly
        repeated."""
        real = self.heldout.real_features()
        self.work.real[self.heldout.network.kind.name, "held-out"] = real
        return joint_distances(
            self.seen,
            real,
            distinct={FLOOR: len(self.data.train)},
            generator=Streams(self.work.seed).generator("fd.heldout"),
        )

    def to_training_images(self) -> Iterator[tuple[str, Metric]]:
        """Yield the distances of the priors and of posterior samples."""
        endings = {stages: names[0] for names, stages in priors_of(self.model)}

        def measured(stages: int | None) -> dict[str, Metric]:
            return {"": self._figure(endings[stages], self.work.draws.latents(self.samples, stages))}

        yield from figures_of_priors(self.model, self.train.name, measured, progress=self.work.progress)
        name = self.train.name + FLOOR
        yield from defined(name, lambda: {name: self._figure(FLOOR, self.work.train_u())}).items()

    def to_heldout_images(self) -> dict[str, Metric]:
        """Return the same images' distances to the held-out ones. Raises UsageError if there are none."""
        told = f"{self.heldout.comparison(self.samples)}; {interval()}"
        found = self.distances
        return {
            f"{self.heldout.name}_heldout{ending}": Metric(
                found.values[first], found.half_width(first), told, resamples=tuple(found.resampled[first].tolist())
            )
            for first, ending in self._names()
        }

    def shares(self) -> dict[str, Metric]:
        """Return the share closed by the learned prior and by each stage, if there are held-out images and a trained prior.

        Raises UsageError if there is no gap to close.
        """
        learnt = [(first, ending) for first, ending in self._names() if first not in (GAUSSIAN, FLOOR)]
        if not len(self.data.heldout) or not {GAUSSIAN, FLOOR} <= {*self.seen}:
            return {}
        told = (
            "(Gaussian - prior) / (Gaussian - posterior samples of training images), each the "
            f"{self.heldout.comparison(self.samples)}; {interval()}"
        )
        return {
            f"share_closed{ending}": Metric(*self.distances.share_closed(first, GAUSSIAN, FLOOR), told)
            for first, ending in learnt
        }

    def _reference(self, split: Examples, name: str) -> FidelityReference:
        device = self.model.backbone.device
        return FidelityReference(
            self.data.spec, split, split_name=name, device=device, cache=cache_folder(), progress=self.work.progress
        )

    def _figure(self, ending: str, u: Tensor) -> Metric:
        features = self.train.features(self.model.decode(u, seed=self.work.seed))
        self.seen[ending] = features
        return self.train.fd_of_features(features, generator=Streams(self.work.seed).generator("fd"))

    def _names(self) -> list[tuple[str, str]]:
        """Return the feature set and the suffix of each metric that can be computed."""
        priors = [(names[0], ending) for names, _ in priors_of(self.model) for ending in names]
        return [(first, ending) for first, ending in [*priors, (FLOOR, FLOOR)] if first in self.seen]
