"""Log densities as sums of networks' outputs: precise enough to be added up, and bounded where a prior wants that."""

import torch
from torch import Tensor

__all__ = ["bounded", "precise"]


def precise(values: Tensor) -> Tensor:
    """The same in single precision or better: log densities are added up so, also where the networks run in half."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def bounded(logits: Tensor, bound: float | None) -> Tensor:
    """b tanh(logits / b), within (-b, b), or the logits where b is None; `precise`."""
    logits = precise(logits)
    return logits if bound is None else bound * torch.tanh(logits / bound)
