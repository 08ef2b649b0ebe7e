"""Validates the classes of data and of conditional samples against those that the prior has learnt."""

from collections.abc import Mapping

import torch
from torch import Tensor

from priorkit.core import Latents
from priorkit.errors import UsageError

__all__ = ["asked_classes", "known_classes"]


def asked_classes(labels: Mapping[str, Tensor], classes: int, device: torch.device) -> Tensor | None:
    """Return the requested classes, (n,), or None. Raises UsageError for classes that were not learnt."""
    if not labels:
        return None
    if not classes:
        raise UsageError("this prior was trained without labels; train it with prior.classes, or leave out the label.")
    if unknown := [name for name in labels if name != "label"]:
        raise UsageError(f"label {unknown[0]!r}: this prior has only the attribute label; use label=VALUE.")
    values = labels["label"].to(device)
    if len(values) and not 0 <= int(values.min()) <= int(values.max()) < classes:
        raise UsageError(f"label: expected a value from 0 to {classes - 1}.")
    return values


def known_classes(batch: Latents, classes: int) -> Tensor:
    """Return the labels of data, (B,). Raises UsageError if they are missing or do not fit."""
    if batch.labels is None:
        raise UsageError("prior.classes: this data set has no labels; use data with labels, or --set prior.classes=0.")
    if (most := int(batch.labels.max())) >= classes:
        raise UsageError(f"prior.classes: the data have a class {most}; set it to {most + 1} or more.")
    return batch.labels
