"""The features of real images and of the images of each prior, each computed once for all groups of metrics."""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from itertools import product

import torch
from torch import Tensor

from priorkit.core import Examples, FeatureExtractor
from priorkit.data.cache import cache_folder
from priorkit.metrics import FidelityReference, Metric, extracted, features_for
from priorkit.metrics.extractors import open_extractor
from priorkit.metrics.sample_fidelity import to_8_bits
from priorkit.workflows.measuring.feature_distance import FLOOR
from priorkit.workflows.measuring.shared_work import SharedWork
from priorkit.workflows.measuring.variants import defined, priors_of

__all__ = ["ImageFeatures", "image_features"]

BATCH, FEW = 500, 100
"""Images at once for the built-in classifier and for other extractors."""
GENERATED = "generated images (decoder means)"
"""The same for all priors and the floor, so that their protocols agree; a metric's suffix says which."""
Measured = Callable[[Tensor, str, int], Mapping[str, Metric]]
"""Maps features (N, F), what their images are, and the number of independent ones to metrics by name."""


def image_features(work: SharedWork) -> "ImageFeatures | None":
    """Return the features that `fidelity.features` names: `auto` is the built-in classifier for images of this shape. None
    if the data are not images, or `auto` finds none.

    Raises UsageError for unusable extractors.
    """
    data, settings = work.data, work.fidelity
    if settings.features == "auto":
        return None if features_for(data.spec) is None else ImageFeatures(work)
    if not data.spec.is_image:
        return None
    device = work.model.backbone.device
    return ImageFeatures(work, open_extractor(settings.features, data.spec, weights=settings.weights, device=device))


class ImageFeatures:
    """Features by the built-in classifier, or by an extractor, of images rounded to 8 bits."""

    def __init__(self, work: SharedWork, extractor: FeatureExtractor | None = None) -> None:
        self.work, self.extractor = work, extractor
        self.name = self.training_reference.network.kind.name if extractor is None else extractor.name
        # The images of the built-in classifier are those of the group `fd`.
        self._seen = work.seen if extractor is None else work.seen_by.setdefault(self.name, {})

    @property
    def about(self) -> str:
        """The features, for a protocol."""
        if self.extractor is not None:
            return self.extractor.about
        network = self.training_reference.network
        return (
            f"{network.kind.features} standardised features of the '{network.kind.name}' classifier "
            f"(weights {network.fingerprint})"
        )

    @cached_property
    def training_reference(self) -> FidelityReference:
        """The training images, for the built-in classifier."""
        work, device = self.work, self.work.model.backbone.device
        return FidelityReference(
            work.data.spec, work.data.train, device=device, batch_size=BATCH, cache=cache_folder(), progress=work.progress
        )  # fmt: skip

    def heldout(self) -> Tensor:
        """Return features of the held-out images, (H, F). Raises UsageError if there are none."""
        return self._real(self.work.heldout(), "held-out")

    def training(self) -> Tensor:
        """Return features of the training images, (M, F)."""
        return self._real(self.work.data.train, "training")

    def of(self, ending: str, u: Callable[[], Tensor]) -> Tensor:
        """Return features of the decoder means of latents (N, D), (N, F), by the first suffix of their metrics."""
        if ending not in self._seen:
            self._seen[ending] = self._of_images(self.work.model.decode(u(), seed=self.work.seed))
        return self._seen[ending]

    def figures(self, title: str, measured: Measured) -> Iterator[tuple[str, Metric]]:
        """Yield names and metrics of each prior and of the floor: those of `measured`, followed by the prior's suffix."""
        work = self.work
        shown = priors_of(work.model)
        for endings, stages in work.progress(shown, len(shown), title):
            found = defined(title + endings[0], partial(self._measured, measured, endings[0], stages))
            yield from ((name + ending, figure) for ending, (name, figure) in product(endings, found.items()))

        def floor() -> Mapping[str, Metric]:
            # Further samples of the same training image are not counted as independent.
            independent = min(work.samples, len(work.data.train))
            return measured(self.of(FLOOR, work.train_u), GENERATED, independent)

        yield from ((name + FLOOR, figure) for name, figure in defined(title + FLOOR, floor).items())

    def _measured(self, measured: Measured, ending: str, stages: int | None) -> Mapping[str, Metric]:
        features = self.of(ending, lambda: self.work.draws.latents(self.work.samples, stages))
        return measured(features, GENERATED, len(features))

    def against(self, count: int, told: str, real: int, split: str) -> str:
        """Return the part of a protocol with images, counts and features."""
        return f"{count} {told} against {real} {split} images, all rounded to 8 bits; Euclidean distance of {self.about}"

    def _real(self, split: Examples, name: str) -> Tensor:
        known, key = self.work.real, (self.name, name)
        if key not in known:
            batches = torch.split(torch.arange(len(split)), BATCH)
            shown = self.work.progress(batches, len(batches), f"features of the {name} images")
            known[key] = torch.cat([self._of_images(split.batch(indices)) for indices in shown])
        return known[key]

    def _of_images(self, images: Tensor) -> Tensor:
        if self.extractor is None:
            return self.training_reference.features(images)
        return extracted(self.extractor, (to_8_bits(part) for part in torch.split(images, FEW))).vectors
