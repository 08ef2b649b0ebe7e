"""The residual operations that cells are made of.

Each maps (B, c_in, H, W) to c_out channels at the same, half ("down") or twice ("up") the resolution.
"""

import re
from collections.abc import Callable
from itertools import chain
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priorkit.errors import UsageError
from priorkit_nvae.batch_norm import BatchNormSwish, WrappedBatchNorm
from priorkit_nvae.convolution import DataInitialisedConv2d, WeightNormConv2d
from priorkit_nvae.folding import Filters, FrozenDepthwise, Kept, folded, folding_allowed

__all__ = ["Resize", "operation"]

Resize = Literal["same", "down", "up"]


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def _spread(x: Tensor, filters: Filters, conv: nn.Conv2d) -> Tensor:
    """Apply the convolution with other filters."""
    depthwise = conv.groups == conv.in_channels and conv.stride == (1, 1)
    # Under autocast the two passes would be in different precisions.
    if depthwise and x.device.type == "cpu" and x.dtype == filters.weight.dtype:
        # Torch's own annotation of `apply` depends on the release: none up to 2.13.
        apply: Callable[..., Tensor] = FrozenDepthwise.apply
        return apply(x, filters.weight, filters.bias)
    return F.conv2d(x, filters.weight, filters.bias, conv.stride, conv.padding, 1, conv.groups)


class ActivatedConv(nn.Module):
    """Activation, optional upsampling, weight-normalised 3x3 convolution."""

    def __init__(self, c_in: int, c_out: int, resize: Resize, *, dilation: int = 1, from_data: bool = False) -> None:
        super().__init__()
        self.up = resize == "up"
        convolution = DataInitialisedConv2d if from_data else WeightNormConv2d
        self.conv_0 = convolution(c_in, c_out, 3, stride=2 if resize == "down" else 1, dilation=dilation)

    def activate(self, x: Tensor) -> Tensor:
        """Apply ELU."""
        return F.elu(x)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, H, W) -> (B, c_out, H', W')."""
        y = self.activate(x)
        out: Tensor = self.conv_0(_doubled(y) if self.up else y)
        return out


class BatchNormEluConv(ActivatedConv):
    """Batch norm and ELU before the convolution."""

    def __init__(self, c_in: int, c_out: int, resize: Resize) -> None:
        super().__init__(c_in, c_out, resize)
        self.bn = WrappedBatchNorm(c_in)

    def activate(self, x: Tensor) -> Tensor:
        """Apply ELU to the normalised x."""
        return F.elu(self.bn(x))


class BatchNormSwishConv(ActivatedConv):
    """Batch norm and swish before the convolution."""

    def __init__(self, c_in: int, c_out: int, resize: Resize, *, dilation: int = 1) -> None:
        super().__init__(c_in, c_out, resize, dilation=dilation)
        self.bn_act = BatchNormSwish(c_in)

    def activate(self, x: Tensor) -> Tensor:
        """Apply swish to the normalised x."""
        y: Tensor = self.bn_act(x)
        return y


class ConvBatchNormSwish(nn.Module):
    """A plain convolution without bias, batch norm, swish."""

    def __init__(self, c_in: int, c_out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        conv = nn.Conv2d(c_in, c_out, kernel, stride=stride, padding=(kernel - 1) // 2, groups=groups, bias=False)
        self.conv = nn.Sequential(conv, BatchNormSwish(c_out))

    @property
    def convolution(self) -> nn.Conv2d:
        """The convolution alone."""
        return cast(nn.Conv2d, self.conv[0])

    @property
    def norm(self) -> BatchNormSwish:
        """The normalisation with its swish."""
        return cast(BatchNormSwish, self.conv[1])

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, H, W) -> (B, c_out, H', W')."""
        y: Tensor = self.conv(x)
        return y


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand, convolve each channel (or group) separately, project."""

    def __init__(self, c_in: int, c_out: int, resize: Resize, *, expansion: int, kernel: int, groups: int) -> None:
        super().__init__()
        hidden = c_in * expansion
        stride = 2 if resize == "down" else 1
        norm, expand = WrappedBatchNorm(c_in), ConvBatchNormSwish(c_in, hidden, 1)
        spread = ConvBatchNormSwish(hidden, hidden, kernel, stride=stride, groups=groups or hidden)
        project, last = nn.Conv2d(hidden, c_out, 1, bias=False), WrappedBatchNorm(c_out)
        doubling = [nn.UpsamplingNearest2d(scale_factor=2)] if resize == "up" else []
        self.conv = nn.Sequential(*doubling, norm, expand, spread, project, last)
        self._parts = doubling, norm, expand, spread, project, last
        self._kept = Kept()

    def train(self, mode: bool = True) -> "InvertedResidual":
        """Discard the merged filters: when the mode changes, something else may have changed."""
        self._kept.forget()
        super().train(mode)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, H, W) -> (B, c_out, H', W')."""
        y: Tensor = self._folded(x) if self._frozen() else self.conv(x)
        return y

    def _frozen(self) -> bool:
        learning = torch.is_grad_enabled() and any(parameter.requires_grad for parameter in self.parameters())
        return not self.training and not learning and folding_allowed()

    def _folded(self, x: Tensor) -> Tensor:
        """Apply three convolutions, with the four normalisations in their filters. Operations on single pixels may precede
        the doubling of pixels."""
        doubling, norm, expand, spread, project, last = self._parts
        tensors = (tensor for tensor in chain(self.parameters(), self.buffers()) if tensor.is_floating_point())
        first, second, third = self._kept.get(
            tensors,
            lambda: (
                folded(expand.convolution, before=norm.bn, after=expand.norm),
                folded(spread.convolution, after=spread.norm),
                folded(project, after=last.bn),
            ),
        )
        wide = F.silu(F.conv2d(x, first.weight, first.bias))
        for double in doubling:
            wide = double(wide)
        return F.conv2d(F.silu(_spread(wide, second, spread.convolution)), third.weight, third.bias)


def operation(name: str, c_in: int, c_out: int, resize: Resize) -> nn.Module:
    """Return the operation of that name; `mconv_e6k5g0` is expansion 6, kernel 5, depthwise."""
    match name:
        case "res_elu":
            return ActivatedConv(c_in, c_out, resize, from_data=True)
        case "res_bnelu":
            return BatchNormEluConv(c_in, c_out, resize)
        case "res_bnswish":
            return BatchNormSwishConv(c_in, c_out, resize)
        case "res_bnswish5":
            return BatchNormSwishConv(c_in, c_out, resize, dilation=2)
    found = re.fullmatch(r"mconv_e(\d+)k(\d+)g(\d+)", name)
    if found is None:
        raise UsageError(f"nvae: unknown residual operation {name!r}.")
    expansion, kernel, groups = map(int, found.groups())
    return InvertedResidual(c_in, c_out, resize, expansion=expansion, kernel=kernel, groups=groups)
