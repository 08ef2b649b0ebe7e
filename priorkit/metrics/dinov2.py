"""DINOv2's ViT-L/14, the features of FD-DINOv2 (Stein et al. 2023, "Exposing flaws of generative model evaluation metrics").

torch-fidelity has these features only through code that is downloaded from a repository and executed, and not from a file of
weights. The network here is priorkit's own, and images are resized by Pillow as in the paper's code.
"""

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from priorkit.core import FeatureExtractor, Features
from priorkit.errors import UsageError
from priorkit.metrics.dino_network import DinoNetwork, DinoShape
from priorkit.metrics.pillow_resize import normalised, pillow_resize
from priorkit.metrics.weight_files import PublishedWeights, read_content, tensors_of

__all__ = ["DINOV2_WEIGHTS", "Dinov2"]

DINOV2_WEIGHTS = PublishedWeights(
    "DINOv2",
    "FD-DINOv2",
    "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
    "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
    megabytes=1_218,
    variable="PRIORKIT_DINOV2",
    file="dinov2_vitl14_pretrain.pth",
)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Dinov2(FeatureExtractor):
    """The normalised class token of ViT-L/14 (1,024 features)."""

    name = "dinov2"
    size = 224
    shape = DinoShape(width=1_024, depth=24, patch=14, grid=37)

    def __init__(self, *, weights: Path | None = None, device: torch.device | str = "cpu") -> None:
        """Raises UsageError if the weights are missing, or the file does not contain them."""
        super().__init__(weights=weights, device=device)
        path = DINOV2_WEIGHTS.find(weights)
        content = read_content(path)
        state = tensors_of(path, content)
        try:
            if (found := DinoShape.of(state)) != self.shape:
                raise UsageError(f"these are weights of {found}, and FD-DINOv2 is defined on {self.shape}.")
            self.network = DinoNetwork.of(state)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error
        self.network.to(self.device)
        digest = hashlib.sha256(content).hexdigest()
        self.fingerprint = digest[:16]
        published = "as published" if digest == DINOV2_WEIGHTS.sha256 else "not those that are published"
        self.about = (
            f"{self.shape.width:,} features of DINOv2 ViT-L/14 (weights {digest[:8]}, {published}), "
            f"resized to {self.size} x {self.size} by Pillow (bicubic), grey images in three equal channels"
        )

    @classmethod
    def download(cls) -> Path:
        """As `PublishedWeights.download`."""
        return DINOV2_WEIGHTS.download()

    def __call__(self, images: Tensor) -> Features:
        """Return the features of images (B, 1 or 3, H, W), uint8."""
        if images.shape[1] not in (1, 3):
            raise UsageError(f"features 'dinov2': expected 1 or 3 channels, got {images.shape[1]}")
        return Features(self.network(normalised(pillow_resize(images, self.size), MEAN, DEVIATION)))
