"""CLIP's ViT-L/14 at 336 pixels, the features of CMMD (Jayasumana et al. 2024, "Rethinking FID").

The network is torch-fidelity's port of OpenAI's. Their file of weights is a TorchScript program: it is opened only if its
hash is the published one, and only its tensors are used. Files of tensors are read too. Images are resized by Pillow, as in
the paper's code.
"""

import hashlib
import io
import warnings
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from priorkit.core import FeatureExtractor, Features
from priorkit.errors import UsageError
from priorkit.metrics.fidelity_library import fidelity_library
from priorkit.metrics.pillow_resize import normalised, pillow_resize
from priorkit.metrics.weight_files import PublishedWeights, read_content, tensors_of

__all__ = ["Clip", "clip_weights"]

NETWORK = "clip-vit-l-14-336px"
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PROJECTION, POSITIONS = "visual.proj", "visual.positional_embedding"


class Clip(FeatureExtractor):
    """The embedding of images, of length 1 (768 features)."""

    name = "clip"
    shapes: ClassVar[dict[str, tuple[int, ...]]] = {PROJECTION: (1_024, 768), POSITIONS: (577, 1_024)}
    """Which CLIP it is: 576 patches of 14 pixels make 336."""

    def __init__(self, *, weights: Path | None = None, device: torch.device | str = "cpu") -> None:
        """Raises UsageError if torch-fidelity or the weights are missing, or the file does not contain them."""
        super().__init__(weights=weights, device=device)
        published = clip_weights()
        path = published.find(weights)
        content = read_content(path)
        digest = hashlib.sha256(content).hexdigest()
        state = _tensors_of_script(content) if digest == published.sha256 else tensors_of(path, content)
        self.network = self._network(path, state).to(self.device)
        self.fingerprint = digest[:16]
        self.about = (
            f"{self.shapes[PROJECTION][1]} features of CLIP ViT-L/14 at 336 pixels (weights {digest[:8]}), of length 1, "
            "resized by Pillow (bicubic), grey images in three equal channels"
        )

    @classmethod
    def download(cls) -> Path:
        """As `PublishedWeights.download`."""
        return clip_weights().download()

    def __call__(self, images: Tensor) -> Features:
        """Return the features of images (B, 1 or 3, H, W), uint8."""
        if images.shape[1] not in (1, 3):
            raise UsageError(f"features 'clip': expected 1 or 3 channels, got {images.shape[1]}")
        resized = pillow_resize(images, self.network.input_resolution)
        return Features(normalize(self.network(normalised(resized, MEAN, DEVIATION))))

    @classmethod
    def _network(cls, path: Path, state: dict[str, Tensor]) -> Any:
        """Return the network of images with these tensors, which may be those of all of CLIP."""
        visual = {name: value for name, value in state.items() if name.startswith("visual.")}
        found = {name: tuple(visual[name].shape) if name in visual else None for name in cls.shapes}
        if found != cls.shapes:
            raise UsageError(f"{path}: these are not the weights of CLIP ViT-L/14 at 336 pixels: {found}, not {cls.shapes}.")
        # torch-fidelity reads the size of the embedding from the text's network.
        visual["text_projection"] = visual[PROJECTION]
        try:
            with torch.random.fork_rng(devices=[]):  # an evaluation does not use the caller's random numbers
                return fidelity_library().clip_model(visual, torch.float32).visual
        except (RuntimeError, KeyError) as error:
            said = " ".join(str(error).split())[:200]
            raise UsageError(f"{path}: these are not the weights of torch-fidelity's CLIP ({said}).") from error


def clip_weights() -> PublishedWeights:
    """Return the file that torch-fidelity downloads."""
    library = fidelity_library()
    digest = library.clip_hashes[NETWORK]["hash"]
    return PublishedWeights(
        "CLIP",
        "CMMD",
        library.clip_urls[NETWORK],
        digest,
        megabytes=934,
        variable="PRIORKIT_CLIP",
        file=f"{NETWORK}-{digest}.pt",
    )


def _tensors_of_script(content: bytes) -> dict[str, Tensor]:
    """Return the tensors of a TorchScript file that is known by its hash."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        program = torch.jit.load(io.BytesIO(content), map_location="cpu")  # type: ignore[no-untyped-call]
    state: dict[str, Tensor] = program.state_dict()
    return state
