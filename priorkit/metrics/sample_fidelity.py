r"""How close generated images are to real ones, through torch-fidelity, on the features of any extractor.

- The Fréchet distance (Heusel et al. 2017) between Gaussians fitted to both sets of features.
- The kernel distance (Bińkowski et al. 2018): unbiased squared MMD under :math:`(x^\top y / F + 1)^3`.
- CMMD (Jayasumana et al. 2024), on CLIP's features alone.
- The score of the classes (Salimans et al. 2016): :math:`\exp \mathrm{E}\, KL(p(y | x) \| p(y))`, of generated images alone.
- Precision and recall (Kynkäänniemi et al. 2019): the share of generated images within the k-nearest-neighbour balls of real
  ones, and the reverse.

On Inception's features they are called fid, kid and inception_score; on others fd_<name>, kd_<name>, class_score_<name>.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor

from priorkit.core import Examples, FeatureExtractor, Features, Metric, Progress, no_progress
from priorkit.errors import UsageError
from priorkit.metrics.clip import Clip
from priorkit.metrics.cmmd import cmmd
from priorkit.metrics.extraction import extracted
from priorkit.metrics.fidelity import content_hash
from priorkit.metrics.fidelity_library import fidelity_library
from priorkit.metrics.frechet import Statistics, frechet_distance, statistics, weighted_statistics
from priorkit.metrics.inception import Inception
from priorkit.metrics.statistics_cache import kept_tensors

__all__ = ["Names", "RealImages", "SampleFidelity", "figure_names", "real_images", "to_8_bits"]

KID_SUBSETS, KID_SUBSET = 100, 1_000
SPLITS = 10
RESAMPLES, RESAMPLED_FEATURES = 20, 256
"""Bootstrap resamples of a Fréchet distance, and the largest number of features for which they are affordable."""
MATRIX = 2_000
"""Number of points whose distances to others are computed at once."""


@dataclass(frozen=True)
class Names:
    """The names of the metrics of an extractor."""

    distance: str
    kernel: str
    score: str
    precision: str
    recall: str
    reconstruction: str
    """The Fréchet distance of reconstructions."""


def figure_names(extractor: FeatureExtractor) -> Names:
    """Return the names: FID, KID and the Inception score for Inception; others are named after their extractor."""
    name = extractor.name
    shared = (f"precision_{name}", f"recall_{name}")
    if isinstance(extractor, Inception):
        return Names("fid", "kid", "inception_score", *shared, "rfid")
    return Names(f"fd_{name}", f"kd_{name}", f"class_score_{name}", *shared, f"rfd_{name}")


@dataclass(frozen=True)
class RealImages:
    """The real images with which generated images are compared."""

    statistics: Statistics
    """Statistics of all images of the split."""
    points: Tensor
    """Features of some of them, (P, F), for the kernel distance, precision and recall."""
    split: str
    """The split's name."""


def real_images(
    extractor: FeatureExtractor,
    split: Examples,
    *,
    split_name: str = "training",
    points: int = 10_000,
    batch_size: int = 100,
    cache: Path | None = None,
    progress: Progress = no_progress,
) -> RealImages:
    """Return the statistics of a split, and the features of at most `points` of its images, spread evenly over it.

    In a cache folder they are stored by the images' content, the extractor's fingerprint and the counts. Raises UsageError
    for fewer than 2 images, and what the extractor raises.
    """
    if len(split) < 2:
        raise UsageError(f"sample fidelity: at least 2 {split_name} images are needed, got {len(split)}")
    batches = torch.split(torch.arange(len(split)), batch_size)
    chosen = torch.linspace(0, len(split) - 1, min(points, len(split))).long()

    def make() -> dict[str, Tensor]:
        shown = progress(batches, len(batches), f"features of the {split_name} images")
        vectors = extracted(extractor, (to_8_bits(split.batch(indices)) for indices in shown)).vectors
        fitted = statistics(vectors)
        return {"mean": fitted.mean, "covariance": fitted.covariance, "points": vectors[chosen]}

    if cache is None or not extractor.fingerprint:
        found = make()
    else:
        content = content_hash(split.batch(indices) for indices in batches)
        key = f"{extractor.name}-{extractor.fingerprint}-{content}-{len(chosen)}"
        found = kept_tensors(cache, key, make, ("mean", "covariance", "points"))
    return RealImages(Statistics(found["mean"], found["covariance"], len(split)), found["points"], split_name)


class SampleFidelity:
    """Compares sets of generated images with one set of real ones."""

    def __init__(self, extractor: FeatureExtractor, real: RealImages, *, neighbours: int = 3) -> None:
        """`neighbours` is the k of precision and recall. Raises UsageError if torch-fidelity is not installed."""
        self.fidelity = fidelity_library()
        self.extractor, self.real, self.neighbours = extractor, real, neighbours
        self.names = figure_names(extractor)

    def figures(
        self, images: Iterable[Tensor] | Features, *, generated: str = "generated images", generator: Generator | None = None
    ) -> dict[str, Metric]:
        """Return all metrics of batches of images (B, C, H, W), uint8, or of their features; `generated` says how they were
        made.

        The generator draws the resamples of the spread. Metrics that the number of images or the extractor does not allow
        are left out. Raises UsageError for fewer than 2 images.
        """
        features = self._features(images)
        how = f"{len(features.vectors)} {generated}"
        figures = {self.names.distance: self._distance(features.vectors, how, generator)}
        figures |= self._kernel(features.vectors, how) | self._cmmd(features.vectors, how) | self._score(features, how)
        return figures | self._precision_and_recall(features.vectors, how)

    def reconstruction(
        self, images: Iterable[Tensor] | Features, *, generated: str = "reconstructions", generator: Generator | None = None
    ) -> dict[str, Metric]:
        """Return the Fréchet distance of reconstructed images (B, C, H, W), uint8, or of their features."""
        vectors = self._features(images).vectors
        return {self.names.reconstruction: self._distance(vectors, f"{len(vectors)} {generated}", generator)}

    def _features(self, images: Iterable[Tensor] | Features) -> Features:
        features = images if isinstance(images, Features) else extracted(self.extractor, images)
        ours, theirs = features.vectors.shape[1], self.real.points.shape[1]
        if ours != theirs:
            raise UsageError(
                f"features '{self.extractor.name}': {ours} of a generated image and {theirs} of a real one. "
                "If you change an extractor, also change its fingerprint: the cached statistics of real "
                "images depend on it."
            )
        return features

    def _distance(self, vectors: Tensor, how: str, generator: Generator | None) -> Metric:
        if len(vectors) < 2:
            raise UsageError(f"{self.names.distance}: at least 2 generated images are needed, got {len(vectors)}")
        real = self.real.statistics
        ours = self.fidelity.fid_features_to_statistics(vectors.double())
        theirs = {"mu": real.mean.numpy(), "sigma": real.covariance.numpy()}
        sigma = ours["sigma"].reshape(theirs["sigma"].shape)
        found = self.fidelity.fid_statistics_to_metric({**ours, "sigma": sigma}, theirs, False)
        value, spread, told = float(found["frechet_inception_distance"]), None, "no spread is estimated"
        if vectors.shape[1] <= RESAMPLED_FEATURES:
            spread = _bootstrap(vectors, real, generator)
            told = f"spread: standard deviation over {RESAMPLES} bootstrap resamples of the generated images"
        against = f"{real.count} {self.real.split} images"
        return Metric(value, spread, f"squared Fréchet distance, {self._on(how, against)}; {told}")

    def _kernel(self, vectors: Tensor, how: str) -> dict[str, Metric]:
        size = min(KID_SUBSET, len(vectors), len(self.real.points))
        if size < 2:
            return {}
        # If a subset is the whole set there is no variation.
        varied = size < max(len(vectors), len(self.real.points))
        subsets = KID_SUBSETS if varied else 1
        found = self.fidelity.kid_features_to_metric(
            vectors.double(), self.real.points.double(), kid_subsets=subsets, kid_subset_size=size, verbose=False
        )
        spread = float(found["kernel_inception_distance_std"]) if varied else None
        told = f"unbiased, cubic polynomial kernel, mean over {subsets} subsets of {size}"
        told = f"squared kernel distance ({told}), {self._on(how, self._points())}; spread: deviation over the subsets"
        return {self.names.kernel: Metric(float(found["kernel_inception_distance_mean"]), spread, told)}

    def _cmmd(self, vectors: Tensor, how: str) -> dict[str, Metric]:
        if not isinstance(self.extractor, Clip):
            return {}
        return {"cmmd": cmmd(vectors, self.real.points, self._on(how, self._points()))}

    def _score(self, features: Features, how: str) -> dict[str, Metric]:
        if features.logits is None or len(features.logits) < 2 * SPLITS:
            return {}
        found = self.fidelity.isc_features_to_metric(features.logits, splits=SPLITS)
        told = f"exp of the mean divergence of p(class | image) from p(class), {how}; {self.extractor.about}"
        told += f"; mean and spread (standard deviation) over {SPLITS} parts"
        return {self.names.score: Metric(float(found["inception_score_mean"]), float(found["inception_score_std"]), told)}

    def _precision_and_recall(self, vectors: Tensor, how: str) -> dict[str, Metric]:
        points = self.real.points
        if min(len(vectors), len(points)) <= self.neighbours:
            return {}
        found = self.fidelity.prc_features_to_metric(
            vectors.double(), points.double(), prc_neighborhood=self.neighbours, prc_batch_size=MATRIX,
            save_cpu_ram=True, verbose=False,
        )  # fmt: skip
        told = f"k-nearest-neighbour balls, k = {self.neighbours}, {self._on(how, self._points())}"
        counts = {"precision": len(vectors), "recall": len(points)}
        return {
            getattr(self.names, name): Metric(
                float(found[name]), _binomial(float(found[name]), count), f"{name}, {told}; spread: binomial standard error"
            )
            for name, count in counts.items()
        }

    def _on(self, how: str, against: str) -> str:
        return f"{how} against {against}; {self.extractor.about}"

    def _points(self) -> str:
        count, whole = len(self.real.points), self.real.statistics.count
        return f"{count} {self.real.split} images" + (f" of {whole}, evenly chosen" if count < whole else "")


def to_8_bits(images: Tensor, *, down: bool = False) -> Tensor:
    """Return images in [0, 1] as uint8: rounded to the nearest of 256 levels, or down, which darkens by half a level."""
    scaled = images.float().clamp(0, 1) * 255
    return (scaled.floor() if down else scaled.round()).to(torch.uint8)


def _bootstrap(vectors: Tensor, real: Statistics, generator: Generator | None) -> float:
    n = len(vectors)
    values = []
    for _ in range(RESAMPLES):
        counts = torch.bincount(torch.randint(n, (n,), generator=generator), minlength=n)
        values.append(frechet_distance(weighted_statistics(vectors, counts), real))
    return float(torch.tensor(values).std())


def _binomial(share: float, count: int) -> float:
    return float((share * (1 - share) / count) ** 0.5)
