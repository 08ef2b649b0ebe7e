"""The built-in extractors: small classifiers, each for one set of images."""

from pathlib import Path

import torch
from torch import Tensor

from priorkit.core import FeatureExtractor, Features
from priorkit.errors import UsageError
from priorkit.metrics.features import FeatureNetwork, feature_network

__all__ = ["Cifar", "Digits", "Fashion", "ShippedExtractor"]


class ShippedExtractor(FeatureExtractor):
    """A built-in classifier; its name is that of its set of images."""

    def __init__(self, *, weights: Path | None = None, device: torch.device | str = "cpu") -> None:
        """Raises UsageError if weights are given: they are part of the package."""
        if weights is not None:
            raise self._no_use()
        super().__init__(device=device)
        self.network: FeatureNetwork = feature_network(self.name).to(self.device)
        self.fingerprint = self.network.fingerprint
        kind = self.network.kind
        self.about = f"{kind.features} standardised features of the '{self.name}' classifier (weights {self.fingerprint})"

    @classmethod
    def download(cls) -> Path:
        """Raises UsageError: there is nothing to download."""
        raise cls._no_use()

    def __call__(self, images: Tensor) -> Features:
        """Return the features of images of the set's shape, uint8."""
        scaled = images.float() / 255
        vectors = self.network(scaled)
        return Features(vectors, self.network.classifier(torch.relu(vectors)))

    @classmethod
    def _no_use(cls) -> UsageError:
        return UsageError(f"--feature-weights: the features {cls.name!r} have no use for a file of weights; leave it out.")


class Digits(ShippedExtractor):
    """64 features of a classifier of digits, (1, 8, 8)."""

    name = "digits"


class Fashion(ShippedExtractor):
    """64 features of a classifier of Fashion-MNIST, (1, 28, 28)."""

    name = "fashion"


class Cifar(ShippedExtractor):
    """64 features of a classifier of CIFAR-10, (3, 32, 32)."""

    name = "cifar"
