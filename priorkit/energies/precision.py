"""Log densities as sums of networks' outputs: precise enough for summation, and bounded if a prior requires it."""

import torch
from torch import Tensor

__all__ = ["bounded", "precise"]


def precise(values: Tensor) -> Tensor:
    """Return the values in single precision or better: log densities are summed this way, even if the networks use half
    precision."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def bounded(logits: Tensor, bound: float | None) -> Tensor:
    """Return b tanh(logits / b), within (-b, b), or the logits if b is None; `precise`."""
    logits = precise(logits)
    return logits if bound is None else bound * torch.tanh(logits / bound)
