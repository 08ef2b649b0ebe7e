"""Weights in half precision: half the size, for a difference that is below the spread of every metric."""

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["LEAST", "halved"]

LEAST = 1_024
"""Numbers in the smallest tensor that is rounded: biases and the statistics of batch norms take no space and keep their
precision."""


def halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with each large one of float32 in float16, except those with numbers that float16 cannot hold.

    A model loads both: its parameters stay in float32.
    """
    return {name: _rounded(value) for name, value in tensors.items()}


def _rounded(value: Tensor) -> Tensor:
    if value.dtype != torch.float32 or value.numel() < LEAST:
        return value
    found = value.half()
    return found if bool(found.isfinite().all()) else value
