"""Outputs of networks that may run in half precision, made fit for log densities and distances."""

import torch
from torch import Tensor

__all__ = ["precise"]


def precise(values: Tensor) -> Tensor:
    """The same in single precision or better."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
