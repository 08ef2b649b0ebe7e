"""What every likelihood does first with a decoder's output: cut a padded border off and leave half precision."""

import torch
from torch import Tensor

__all__ = ["crop_note", "cropped", "widened"]


def cropped(values: Tensor, border: int) -> Tensor:
    """values (..., H, W) without `border` rows and columns on each side."""
    return values[..., border:-border, border:-border] if border else values


def widened(values: Tensor) -> Tensor:
    """Half precision to float32; sums over thousands of pixels need it."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def crop_note(border: int) -> str:
    """The part of a protocol that tells of the crop."""
    return f", {border} padded pixels cut from each side" if border else ""
