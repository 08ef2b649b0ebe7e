r"""Convolutions that are one matrix product, which on a CPU is two to four times as fast as torch's convolution.

- Filters as wide as their stride, such as 1x1 filters with stride 1, are a linear function of patches that do not overlap.
- On a map that lies within the filter wherever the filter is placed, such as 3x3 filters on maps of up to 2x2 pixels, every
  output pixel is a linear function of all input pixels. Most taps would only meet the border of zeros.

All other convolutions are torch's, which no product of patches that overlap has been found to beat.
"""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from priorkit_nvae.folding import products_allowed

__all__ = ["convolve"]


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int, padding: int, dilation: int = 1, groups: int = 1
) -> Tensor:
    """Return the convolution of x (B, C, H, H) with square filters (O, C / groups, k, k) and a border of zeros,
    (B, O, H', H')."""
    size, kernel, out = x.shape[2], weight.shape[2], len(weight)
    if x.device.type == "cpu" and groups == 1 == dilation and x.shape[3] == size and products_allowed():
        pixels = x.permute(0, 2, 3, 1)
        if kernel == stride and padding == 0 and size % kernel == 0:
            return F.linear(_patches(pixels, kernel), weight.permute(0, 2, 3, 1).flatten(1), bias).permute(0, 3, 1, 2)
        side = (size + 2 * padding - kernel) // stride + 1
        if padding >= (side - 1) * stride and padding + size <= kernel:
            biases = None if bias is None else bias.repeat(side**2)
            y = F.linear(pixels.flatten(1), _matrix(weight, size, side, stride, padding), biases)
            return y.view(len(x), side, side, out).permute(0, 3, 1, 2)
    return F.conv2d(x, weight, bias, stride, padding, dilation, groups)


def _patches(pixels: Tensor, side: int) -> Tensor:
    """Return (B, H / side, H / side, side^2 C) from pixels (B, H, H, C)."""
    if side == 1:
        return pixels
    batch, size, _, channels = pixels.shape
    parts = pixels.reshape(batch, size // side, side, size // side, side, channels).transpose(2, 3)
    return parts.reshape(batch, size // side, size // side, -1)


def _matrix(weight: Tensor, size: int, side: int, stride: int, padding: int) -> Tensor:
    """Return the matrix (side^2 O, size^2 C) from the input's pixels to the output's, channels last."""
    out, channels, kernel, _ = weight.shape
    if side == 1:
        seen = slice(padding, padding + size)
        return weight[:, :, seen, seen].permute(0, 2, 3, 1).flatten(1)
    # Whole taps are copied, in the order of memory: picking single numbers takes longer than the product.
    taps = weight.permute(2, 3, 0, 1).reshape(kernel**2, out, channels)
    pairs = taps.index_select(0, _taps(kernel, size, side, stride, padding))
    return pairs.view(side**2, size**2, out, channels).transpose(1, 2).reshape(side**2 * out, -1)


@cache
def _taps(kernel: int, size: int, side: int, stride: int, padding: int) -> Tensor:
    """Return the number of the tap from each input pixel to each output pixel, (side^2 size^2,)."""
    along = torch.arange(size) - stride * torch.arange(side)[:, None] + padding
    rows, columns = along[:, None, :, None], along[None, :, None, :]
    return (kernel * rows + columns).flatten()
