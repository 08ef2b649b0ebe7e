"""What turns images into the features that sample fidelity is measured on."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from priorkit.errors import UsageError

__all__ = ["FeatureExtractor", "Features"]


@dataclass(frozen=True)
class Features:
    """The features of N images."""

    vectors: Tensor
    """(N, F)."""
    logits: Tensor | None = None
    """Class scores before the softmax, (N, K), for extractors that classify; the score of the classes needs them."""


class FeatureExtractor(ABC):
    """A network, or another function, of images.  A plugin of kind `extractor` is a subclass.

    Its metrics are called after it: `fd_<name>`, `kd_<name>`, ...; FID and KID are those of Inception alone.
    """

    name: str
    """Small letters, digits and underscores; of a plugin it is the plugin's name, whatever the class says."""
    about: str
    """The network, its layer and its preprocessing in a phrase: part of each metric's protocol."""
    fingerprint: str = ""
    """What the features depend on besides the images (a hash of weights and preprocessing).  Statistics of real images are
    kept under it; where it is empty they are computed anew each time."""

    def __init__(self, *, weights: Path | None = None, device: torch.device | str = "cpu") -> None:
        """`weights` is the file that the user names, or None; raises UsageError where the extractor cannot do without, or
        has no use for one."""
        self.weights = weights
        self.device = torch.device(device)

    @classmethod
    def download(cls) -> Path:
        """Fetch the weights and return their file, for `--feature-weights download`.

        Raises UsageError where there are none to fetch, which is so unless a subclass says otherwise.
        """
        raise UsageError("--feature-weights download: these features have no weights to fetch; name a file.")

    @abstractmethod
    def __call__(self, images: Tensor) -> Features:
        """Of images (B, C, H, W), uint8, on the extractor's device; C is 1 or 3.

        The same image has the same features in every batch.  Raises UsageError for images that it cannot take.
        """
