"""How close generated images are to real ones: the Fréchet distance on the features of a small classifier.

Its name is `fd_<feature set>`; values can be compared only for the same set of images, network and count.
"""

import hashlib
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path

import torch
from torch import Generator, Tensor

from priorkit.core import DataSpec, Examples, Progress, no_progress
from priorkit.core.metric import Metric
from priorkit.errors import UsageError
from priorkit.metrics.features import FEATURE_SETS, feature_network, features_for
from priorkit.metrics.frechet import Statistics, frechet_distance, statistics, weighted_statistics
from priorkit.metrics.statistics_cache import kept_statistics, kept_tensors

__all__ = ["FidelityReference", "round_to_8_bits"]

RESAMPLES = 20
WORTH_KEEPING = 5_000
"""Number of images from which features are worth caching."""


class FidelityReference:
    """The features of the real images, computed on first use, for comparison with generated images."""

    def __init__(
        self,
        spec: DataSpec,
        split: Examples,
        *,
        split_name: str = "training",
        device: torch.device | str = "cpu",
        batch_size: int = 500,
        cache: Path | None = None,
        progress: Progress = no_progress,
    ) -> None:
        """With a cache folder, statistics and features of a large split are stored there, by images and network."""
        name = features_for(spec)
        if name is None:
            shapes = ", ".join(str(kind.shape) for kind in FEATURE_SETS.values())
            raise UsageError(f"fidelity: no feature network for '{spec.name}' of shape {spec.shape}; only for {shapes}")
        self.name = f"fd_{name}"
        self.split = split
        self.split_name = split_name
        self.batch_size = batch_size
        self.network = feature_network(name).to(device)
        self.cache = cache
        self.progress = progress

    @cached_property
    def real(self) -> Statistics:
        """Return mean and covariance of the features of all real images, from the cache if possible."""
        if self.cache is None or len(self.split) < WORTH_KEEPING:
            return statistics(self.real_features())
        return kept_statistics(self.cache, self._key(), lambda: statistics(self.real_features()))

    def kept(self, what: str, make: Callable[[], dict[str, Tensor]], names: tuple[str, ...]) -> dict[str, Tensor]:
        """Return tensors of these names that `make` computes from these images and features, cached like `real`, under
        `what`."""
        if self.cache is None or len(self.split) < WORTH_KEEPING:
            return make()
        return kept_tensors(self.cache, f"{self._key()}-{what}", make, names)

    def kept_features(self) -> Tensor:
        """Return `real_features`, from the cache if possible."""
        return self.kept("features", lambda: {"features": self.real_features()}, ("features",))["features"]

    def real_features(self) -> Tensor:
        """Return features of all real images, (N, F), float32 on the CPU. Raises UsageError if there are none."""
        batches = self._batches()
        if not len(self.split):
            raise UsageError(f"there are no {self.split_name} data")
        shown = self.progress(batches, len(batches), f"features of the {self.split_name} images")
        return torch.cat([self._batch_features(self.split.batch(indices)) for indices in shown])

    def features(self, images: Tensor) -> Tensor:
        """Return features of images (N, C, H, W) in [0, 1], rounded to 8 bits as in a file: (N, F), float32 on the CPU.

        Raises UsageError if some are not finite.
        """
        features = torch.cat([self._batch_features(batch) for batch in torch.split(images, self.batch_size)])
        if not bool(features.isfinite().all()):
            raise UsageError(f"{self.name}: some images are not finite; the chains diverged; decrease sampler.step_size")
        return features

    def fd(self, images: Tensor, *, generator: Generator | None = None) -> Metric:
        """Return the distance of images (N, C, H, W) in [0, 1], N >= 2; the generator draws the resamples for the spread."""
        return self.fd_of_features(self.features(images), generator=generator)

    def fd_of_features(self, features: Tensor, *, generator: Generator | None = None) -> Metric:
        """Return the same from the images' features (N, F)."""
        value = frechet_distance(statistics(features), self.real)
        return Metric(value, self._spread(features, generator), self.protocol(len(features)))

    def protocol(self, count: int) -> str:
        """Return the protocol of a distance of `count` generated images."""
        spread = f"standard deviation over {RESAMPLES} bootstrap resamples of the generated images"
        return f"{self.comparison(count)}; spread: {spread}"

    def comparison(self, count: int) -> str:
        """Return the part of a protocol with features and counts, for `count` generated images."""
        kind = self.network.kind
        return (
            f"squared Fréchet distance on {kind.features} standardised features of the '{kind.name}' classifier "
            f"(weights {self.network.fingerprint}); {count} generated against {len(self.split)} {self.split_name} images, "
            "all rounded to 8 bits"
        )

    def _key(self) -> str:
        """Return what identifies the real images' features."""
        content = content_hash(self.split.batch(indices) for indices in self._batches())
        return f"{self.network.kind.name}-{self.network.fingerprint}-{content}"

    def _batches(self) -> tuple[Tensor, ...]:
        return torch.split(torch.arange(len(self.split)), self.batch_size)

    def _spread(self, features: Tensor, generator: Generator | None) -> float:
        values = [frechet_distance(_resampled(features, generator), self.real) for _ in range(RESAMPLES)]
        return float(torch.tensor(values).std())

    @torch.no_grad()
    def _batch_features(self, images: Tensor) -> Tensor:
        device = next(self.network.parameters()).device
        features: Tensor = self.network(round_to_8_bits(images.to(device)))
        return features.cpu()


def round_to_8_bits(images: Tensor) -> Tensor:
    """Return images in [0, 1] as an image file would store them: k / 255."""
    return (images.float().clamp(0, 1) * 255).round() / 255


def content_hash(batches: Iterable[Tensor]) -> str:
    """Return the SHA-256 of images in [0, 1], rounded to 8 bits, independent of the batches."""
    digest = hashlib.sha256()
    for images in batches:
        digest.update((images.clamp(0, 1) * 255).round().byte().contiguous().numpy().data)
    return digest.hexdigest()[:32]


def _resampled(features: Tensor, generator: Generator | None) -> Statistics:
    chosen = torch.randint(len(features), (len(features),), generator=generator)
    return weighted_statistics(features, torch.bincount(chosen, minlength=len(features)))
