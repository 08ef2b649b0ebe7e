"""Between a network in half precision and a likelihood: leave half precision, cut a padded border off."""

from contextlib import nullcontext

import torch
from torch import Tensor, nn

__all__ = ["crop_note", "cropped", "full_precision", "widened"]


def full_precision(layer: nn.Module, x: Tensor) -> Tensor:
    """layer(x) outside of autocast, for the layers whose outputs are means and scales: in float32, or as wide as x."""
    # A chain calls this at every step, and entering a context takes as long as a small layer.
    inside = torch.amp.is_autocast_available(x.device.type) and torch.is_autocast_enabled(x.device.type)
    with torch.autocast(x.device.type, enabled=False) if inside else nullcontext():
        y: Tensor = layer(widened(x))
    return y


def cropped(values: Tensor, border: int) -> Tensor:
    """values (..., H, W) without `border` rows and columns on each side."""
    return values[..., border:-border, border:-border] if border else values


def widened(values: Tensor) -> Tensor:
    """Half precision to float32; sums over thousands of pixels need it."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def crop_note(border: int) -> str:
    """The part of a protocol that tells of the crop."""
    return f", {border} padded pixels cut from each side" if border else ""
