"""Inception as the FID is defined on it: torch-fidelity's port of the network of 2015-12-05, its features and its resizing.

The weights (about 95 MB) are not part of the package. They are looked up in the place given by the user, then in the
environment variable PRIORKIT_INCEPTION, then where torch-fidelity stores them.
"""

import hashlib
import io
from pathlib import Path

import torch
from torch import Tensor

from priorkit.core import FeatureExtractor, Features
from priorkit.errors import UsageError
from priorkit.metrics.fidelity_library import fidelity_library
from priorkit.metrics.weight_files import PublishedWeights, read_content, tensors_of

__all__ = ["VARIABLE", "Inception", "inception_weights"]

VARIABLE = "PRIORKIT_INCEPTION"
LAYERS = ["2048", "logits_unbiased"]


class Inception(FeatureExtractor):
    """The last pooling layer (2,048 features), and the class scores without their bias, as used by the Inception score."""

    name = "inception"

    def __init__(self, *, weights: Path | None = None, device: torch.device | str = "cpu") -> None:
        """Raises UsageError if torch-fidelity or the weights are missing, or the file does not contain them."""
        super().__init__(weights=weights, device=device)
        found = fidelity_library()
        path = inception_weights().find(weights)
        content = read_content(path)
        # torch-fidelity would unpickle any file: it gets what was read here.
        verified = io.BytesIO()
        torch.save(tensors_of(path, content), verified)
        verified.seek(0)
        try:
            with torch.random.fork_rng(devices=[]):  # an evaluation does not use the caller's random numbers
                self.network = found.inception("inception-v3-compat", list(LAYERS), feature_extractor_weights_path=verified)
        except (RuntimeError, TypeError, AttributeError) as error:
            said = " ".join(str(error).split())[:200]
            raise UsageError(f"{path}: these are not the weights of torch-fidelity's Inception ({said}).") from error
        self.network.to(self.device).eval().requires_grad_(False)
        self.fingerprint = hashlib.sha256(content).hexdigest()[:16]
        self.about = (
            f"2,048 features of torch-fidelity {found.version}'s Inception v3 (weights {self.fingerprint[:8]}), "
            "resized to 299 x 299 as TensorFlow 1 did, grey images in three equal channels"
        )

    @classmethod
    def download(cls) -> Path:
        """As `PublishedWeights.download`."""
        return inception_weights().download()

    def __call__(self, images: Tensor) -> Features:
        """Return the features of images (B, 1 or 3, H, W), uint8."""
        if images.shape[1] not in (1, 3):
            raise UsageError(f"features 'inception': expected 1 or 3 channels, got {images.shape[1]}")
        vectors, logits = self.network(images.expand(-1, 3, -1, -1))
        return Features(vectors, logits)


def inception_weights() -> PublishedWeights:
    """Return the file that torch-fidelity downloads; its name ends with the beginning of its hash."""
    url = fidelity_library().inception_url
    file = url.rpartition("/")[2]
    begin = Path(file).stem.rpartition("-")[2]
    return PublishedWeights("Inception", "FID", url, begin, megabytes=95, variable=VARIABLE, file=file)
