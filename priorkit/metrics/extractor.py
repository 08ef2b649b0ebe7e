"""What turns images into the features that sample fidelity is measured on."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from priorkit.errors import PriorkitError, UsageError, said
from priorkit.runtime.memory import ran_out

__all__ = ["Extractor", "Features", "extracted"]


@dataclass(frozen=True)
class Features:
    """The features of N images."""

    vectors: Tensor
    """(N, F)."""
    logits: Tensor | None = None
    """Class scores before the softmax, (N, K), for extractors that classify; the score of the classes needs them."""


class Extractor(ABC):
    """A network, or another function, of images.  A plugin of kind `extractor` is a subclass.

    Its figures are called after it: `fd_<name>`, `kd_<name>`, ...; FID and KID are those of Inception alone.
    """

    name: str
    """Small letters, digits and underscores; of a plugin it is the plugin's name, whatever the class says."""
    about: str
    """The network, its layer and its preprocessing in a phrase: part of each figure's protocol."""
    fingerprint: str = ""
    """What the features depend on besides the images (a hash of weights and preprocessing).  Statistics of real images are
    kept under it; where it is empty they are computed anew each time."""

    def __init__(self, *, weights: Path | None = None, device: torch.device | str = "cpu") -> None:
        """`weights` is the file that the user names, or None; raises UsageError where the extractor cannot do without, or
        has no use for one."""
        self.weights = weights
        self.device = torch.device(device)

    @abstractmethod
    def __call__(self, images: Tensor) -> Features:
        """Of images (B, C, H, W), uint8, on the extractor's device; C is 1 or 3.

        The same image has the same features in every batch.  Raises UsageError for images that it cannot take.
        """


def extracted(extractor: Extractor, batches: Iterable[Tensor]) -> Features:
    """The features of images (B, C, H, W), uint8, batch by batch; float32 on the CPU.

    Raises UsageError naming the extractor for whatever it raises, for other shapes than (B, F) and (B, K), and for
    features that are not finite.
    """
    parts = [_checked(extractor, images) for images in batches]
    if not parts:
        raise UsageError(f"features '{extractor.name}': there are no images")
    logits = [part.logits for part in parts if part.logits is not None]
    return Features(torch.cat([part.vectors for part in parts]), torch.cat(logits) if logits else None)


@torch.no_grad()
def _checked(extractor: Extractor, images: Tensor) -> Features:
    told = f"features '{extractor.name}'"
    try:
        found = extractor(images.to(extractor.device))
    except PriorkitError:
        raise
    except Exception as error:  # a third party's code may raise anything
        if ran_out(error):
            raise
        raise UsageError(f"{told}: images {tuple(images.shape)} made it raise {said(error)}") from error
    if not isinstance(found, Features):
        raise UsageError(f"{told}: expected priorkit.metrics.Features, got {type(found).__name__}")
    for part in (found.vectors, found.logits):
        if part is not None and (not isinstance(part, Tensor) or part.ndim != 2 or len(part) != len(images)):
            shape = tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__
            raise UsageError(f"{told}: expected a row for each of {len(images)} images, got {shape}")
        if part is not None and not bool(part.isfinite().all()):
            raise UsageError(f"{told}: some features are not finite")
    return Features(found.vectors.float().cpu(), None if found.logits is None else found.logits.float().cpu())
