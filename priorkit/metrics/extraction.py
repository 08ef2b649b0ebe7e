"""The features of many images, batch by batch, with any extractor."""

from collections.abc import Iterable

import torch
from torch import Tensor

from priorkit.core import FeatureExtractor, Features
from priorkit.errors import PriorkitError, UsageError, said
from priorkit.runtime.memory import ran_out

__all__ = ["extracted"]


def extracted(extractor: FeatureExtractor, batches: Iterable[Tensor]) -> Features:
    """Return the features of images (B, C, H, W), uint8, batch by batch; float32 on the CPU.

    Raises UsageError naming the extractor for its exceptions, for other shapes than (B, F) and (B, K), and for features that
    are not finite.
    """
    parts = [_checked(extractor, images) for images in batches]
    if not parts:
        raise UsageError(f"features '{extractor.name}': there are no images")
    logits = [part.logits for part in parts if part.logits is not None]
    return Features(torch.cat([part.vectors for part in parts]), torch.cat(logits) if logits else None)


@torch.no_grad()
def _checked(extractor: FeatureExtractor, images: Tensor) -> Features:
    told = f"features '{extractor.name}'"
    try:
        found = extractor(images.to(extractor.device))
    except PriorkitError:
        raise
    except Exception as error:  # third-party code may raise anything
        if ran_out(error):
            raise
        raise UsageError(f"{told}: images {tuple(images.shape)} made it raise {said(error)}") from error
    if not isinstance(found, Features):
        raise UsageError(f"{told}: expected priorkit.core.Features, got {type(found).__name__}")
    for part in (found.vectors, found.logits):
        if part is not None and (not isinstance(part, Tensor) or part.ndim != 2 or len(part) != len(images)):
            shape = tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__
            raise UsageError(f"{told}: expected a row for each of {len(images)} images, got {shape}")
        if part is not None and not bool(part.isfinite().all()):
            raise UsageError(f"{told}: some features are not finite")
    return Features(found.vectors.float().cpu(), None if found.logits is None else found.logits.float().cpu())
