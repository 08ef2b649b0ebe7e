r"""Frozen layers computed as one: batch normalisation in evaluation mode is :math:`x \mapsto s x + t` per channel, and is
merged into the filters of the convolution before it, or of the 1x1 convolution after it.

A 1x1 convolution has no border, so the shift of a normalisation before it is the same everywhere. The result is stored until
one of its input tensors changes.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "Filters",
    "FrozenDepthwise",
    "Kept",
    "affine",
    "fast_format",
    "folded",
    "folding_allowed",
    "like_format",
    "products_allowed",
    "unfolded",
]

_ALLOWED: ContextVar[bool] = ContextVar("priorkit_nvae_folding", default=True)


@contextmanager
def unfolded() -> Iterator[None]:
    """Compute every layer separately inside the block, channels first, by torch's convolution, with every filter normalised
    in each call: the plain reference."""
    token = _ALLOWED.set(False)
    try:
        yield
    finally:
        _ALLOWED.reset(token)


def folding_allowed() -> bool:
    """Return False inside `unfolded`, and in inference mode, whose tensors may not be stored."""
    return _ALLOWED.get() and not torch.is_inference_mode_enabled()


def products_allowed() -> bool:
    """Return False inside `unfolded`."""
    return _ALLOWED.get()


def fast_format(x: Tensor, network: nn.Module) -> Tensor:
    """Return x (B, C, H, W) with its channels last if convolutions are faster with it: in a network that is not trained, and
    on a CPU in every network."""
    if not _ALLOWED.get() or (network.training and x.device.type != "cpu"):
        return x
    # A map of one channel counts as being in both formats, and convolutions would choose the other.
    clone = x.shape[1] == 1
    return x.clone(memory_format=torch.channels_last) if clone else x.contiguous(memory_format=torch.channels_last)


def like_format(x: Tensor, other: Tensor) -> Tensor:
    """Return x (B, C, H, W) in the memory format of another map."""
    last = other.is_contiguous(memory_format=torch.channels_last) and not other.is_contiguous()
    return x.contiguous(memory_format=torch.channels_last) if last else x


@dataclass(frozen=True)
class Filters:
    """A convolution's weight and bias."""

    weight: Tensor
    bias: Tensor


class FrozenDepthwise(torch.autograd.Function):
    """A depthwise convolution of stride 1 with frozen filters. Its gradient is also one, with flipped filters, which on a
    CPU is faster than torch's gradient of a grouped convolution."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Convolve x (B, C, H, W), weight (C, 1, k, k) with odd k, bias (C,): same size as x."""
        ctx.weight = weight
        return F.conv2d(x, weight, bias, padding=weight.shape[2] // 2, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Return the input's gradient; itself differentiable."""
        turned = ctx.weight.flip(2, 3).contiguous(memory_format=torch.channels_last)
        padding, groups = turned.shape[2] // 2, len(turned)
        return F.conv2d(gradients[0], turned, padding=padding, groups=groups), None, None


class Kept:
    """A value computed from tensors, computed again when one of them has changed or moved."""

    def __init__(self) -> None:
        self._key: tuple[int, ...] = ()
        self._value: tuple[Filters, ...] | None = None

    def get(self, parts: Iterable[Tensor], make: Callable[[], tuple[Filters, ...]]) -> tuple[Filters, ...]:
        """Return the stored value, or a new one."""
        key = tuple(number for part in parts for number in (part.data_ptr(), part._version))
        if self._value is None or key != self._key:
            self._key, self._value = key, make()
        return self._value

    def forget(self) -> None:
        """Discard the value."""
        self._value = None


def affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return s and t, (C,) each, of a batch normalisation in evaluation mode."""
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("affine: a batch normalisation without running statistics cannot be folded")
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


@torch.no_grad()
def folded(conv: nn.Conv2d, *, before: nn.BatchNorm2d | None = None, after: nn.BatchNorm2d | None = None) -> Filters:
    """Return the convolution's filters with the adjacent normalisations, in the memory format of channels last.

    `before` needs a 1x1 convolution.
    """
    weight, bias = conv.weight, conv.weight.new_zeros(len(conv.weight)) if conv.bias is None else conv.bias
    if before is not None:
        scale, shift = affine(before)
        bias = bias + weight.sum((2, 3)) @ shift
        weight = weight * scale[None, :, None, None]
    if after is not None:
        scale, shift = affine(after)
        weight, bias = weight * scale[:, None, None, None], bias * scale + shift
    return Filters(weight.contiguous(memory_format=torch.channels_last), bias)
