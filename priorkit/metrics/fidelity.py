"""How close generated images are to real ones: the Fréchet distance on the features of a small classifier.

Its name is `fd_<feature set>`; the value compares only with others on the same set of images, network and count.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Generator, Tensor

from priorkit.core import DataSpec, Examples, Progress, silent
from priorkit.errors import UsageError
from priorkit.metrics.features import FEATURE_SETS, feature_network, features_for
from priorkit.metrics.figure import Figure
from priorkit.metrics.frechet import Statistics, frechet_distance, statistics, weighted_statistics
from priorkit.metrics.kept import kept_statistics

__all__ = ["FidelityReference", "round_to_8_bits"]

RESAMPLES = 20
WORTH_KEEPING = 5_000
"""Images whose features take longer than a moment."""


class FidelityReference:
    """The features of the real images, computed once, to hold generated images against."""

    def __init__(
        self,
        spec: DataSpec,
        split: Examples,
        *,
        split_name: str = "training",
        device: torch.device | str = "cpu",
        batch_size: int = 500,
        cache: Path | None = None,
        progress: Progress = silent,
    ) -> None:
        """With a cache folder the statistics of a large split are kept there, by the images and the network."""
        name = features_for(spec)
        if name is None:
            shapes = ", ".join(str(kind.shape) for kind in FEATURE_SETS.values())
            raise UsageError(f"fidelity: no feature network for '{spec.name}' of shape {spec.shape}; only for {shapes}")
        self.name = f"fd_{name}"
        self.split_name = split_name
        self.batch_size = batch_size
        self.network = feature_network(name).to(device)
        batches = torch.split(torch.arange(len(split)), batch_size)

        def make() -> Statistics:
            shown = progress(batches, len(batches), f"features of the {split_name} images")
            return statistics(torch.cat([self._batch_features(split.batch(indices)) for indices in shown]))

        if cache is None or len(split) < WORTH_KEEPING:
            self.real = make()
        else:
            content = content_hash(split.batch(indices) for indices in batches)
            self.real = kept_statistics(cache, f"{name}-{self.network.fingerprint}-{content}", make)

    def features(self, images: Tensor) -> Tensor:
        """Features of images (N, C, H, W) in [0, 1], rounded to 8 bits as in a file: (N, F), float32 on the CPU."""
        return torch.cat([self._batch_features(batch) for batch in torch.split(images, self.batch_size)])

    def fd(self, images: Tensor, *, generator: Generator | None = None) -> Figure:
        """The distance of images (N, C, H, W) in [0, 1], N >= 2; the generator draws the resamples for the spread."""
        features = self.features(images)
        if not bool(features.isfinite().all()):
            raise UsageError(f"{self.name}: some images are not finite; the chains diverged, use smaller steps")
        value = frechet_distance(statistics(features), self.real)
        return Figure(value, self._spread(features, generator), self.protocol(len(images)))

    def protocol(self, count: int) -> str:
        """What a distance of `count` generated images is."""
        kind = self.network.kind
        return (
            f"squared Fréchet distance on {kind.features} standardised features of the '{kind.name}' classifier "
            f"(weights {self.network.fingerprint}); {count} generated against {self.real.count} {self.split_name} images, "
            f"all rounded to 8 bits; spread: standard deviation over {RESAMPLES} bootstrap resamples of the generated images"
        )

    def _spread(self, features: Tensor, generator: Generator | None) -> float:
        values = [frechet_distance(_resampled(features, generator), self.real) for _ in range(RESAMPLES)]
        return float(torch.tensor(values).std())

    @torch.no_grad()
    def _batch_features(self, images: Tensor) -> Tensor:
        device = next(self.network.parameters()).device
        features: Tensor = self.network(round_to_8_bits(images.to(device)))
        return features.cpu()


def round_to_8_bits(images: Tensor) -> Tensor:
    """Images in [0, 1] as an image file would give them back: k / 255."""
    return (images.float().clamp(0, 1) * 255).round() / 255


def content_hash(batches: Iterable[Tensor]) -> str:
    """SHA-256 of images in [0, 1], rounded to 8 bits, however they are cut into batches."""
    digest = hashlib.sha256()
    for images in batches:
        digest.update((images.clamp(0, 1) * 255).round().byte().contiguous().numpy().data)
    return digest.hexdigest()[:32]


def _resampled(features: Tensor, generator: Generator | None) -> Statistics:
    chosen = torch.randint(len(features), (len(features),), generator=generator)
    return weighted_statistics(features, torch.bincount(chosen, minlength=len(features)))
