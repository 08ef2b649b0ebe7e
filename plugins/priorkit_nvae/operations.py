"""The residual operations that cells are made of.

Each maps (B, c_in, H, W) to c_out channels at the same, half ("down") or twice ("up") the resolution.
"""

import re
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from priorkit.errors import UsageError
from priorkit_nvae.batch_norm import BatchNormSwish, WrappedBatchNorm
from priorkit_nvae.convolution import DataInitialisedConv2d, WeightNormConv2d

__all__ = ["Resize", "operation"]

Resize = Literal["same", "down", "up"]


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


class ActivatedConv(nn.Module):
    """Activation, upsampling where asked for, weight-normalised 3x3 convolution."""

    def __init__(self, c_in: int, c_out: int, resize: Resize, *, dilation: int = 1, from_data: bool = False) -> None:
        super().__init__()
        self.up = resize == "up"
        convolution = DataInitialisedConv2d if from_data else WeightNormConv2d
        self.conv_0 = convolution(c_in, c_out, 3, stride=2 if resize == "down" else 1, dilation=dilation)

    def activate(self, x: Tensor) -> Tensor:
        """ELU."""
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
        """ELU of the normalised x."""
        return F.elu(self.bn(x))


class BatchNormSwishConv(ActivatedConv):
    """Batch norm and swish before the convolution."""

    def __init__(self, c_in: int, c_out: int, resize: Resize, *, dilation: int = 1) -> None:
        super().__init__(c_in, c_out, resize, dilation=dilation)
        self.bn_act = BatchNormSwish(c_in)

    def activate(self, x: Tensor) -> Tensor:
        """Swish of the normalised x."""
        y: Tensor = self.bn_act(x)
        return y


class ConvBatchNormSwish(nn.Module):
    """A plain convolution without bias, batch norm, swish."""

    def __init__(self, c_in: int, c_out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        conv = nn.Conv2d(c_in, c_out, kernel, stride=stride, padding=(kernel - 1) // 2, groups=groups, bias=False)
        self.conv = nn.Sequential(conv, BatchNormSwish(c_out))

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, H, W) -> (B, c_out, H', W')."""
        y: Tensor = self.conv(x)
        return y


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand, convolve each channel (or group) on its own, project."""

    def __init__(self, c_in: int, c_out: int, resize: Resize, *, expansion: int, kernel: int, groups: int) -> None:
        super().__init__()
        hidden = c_in * expansion
        stride = 2 if resize == "down" else 1
        layers: list[nn.Module] = [
            WrappedBatchNorm(c_in),
            ConvBatchNormSwish(c_in, hidden, 1),
            ConvBatchNormSwish(hidden, hidden, kernel, stride=stride, groups=groups or hidden),
            nn.Conv2d(hidden, c_out, 1, bias=False),
            WrappedBatchNorm(c_out),
        ]
        if resize == "up":
            layers.insert(0, nn.UpsamplingNearest2d(scale_factor=2))
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, H, W) -> (B, c_out, H', W')."""
        y: Tensor = self.conv(x)
        return y


def operation(name: str, c_in: int, c_out: int, resize: Resize) -> nn.Module:
    """Build the operation of that name; `mconv_e6k5g0` is expansion 6, kernel 5, depthwise."""
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
        raise UsageError(f"nvae: there is no residual operation {name!r}.")
    expansion, kernel, groups = map(int, found.groups())
    return InvertedResidual(c_in, c_out, resize, expansion=expansion, kernel=kernel, groups=groups)
