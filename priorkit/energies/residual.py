"""The energy network of the multi-stage paper for one layer (its Table 10).

A 3x3 convolution, then for each halving of the map down to 4x4 one strided residual block and `blocks` plain ones, then
residual linear blocks and a linear output.  The paper prints a 4x4x64 map although its width is 128; ours is 4 * 4 * width.
"""

from torch import Tensor, nn
from torch.nn.functional import silu

from priorkit.energies.convolutional import square_stages

__all__ = ["ResidualNet"]


class _ConvBlock(nn.Module):
    """SiLU, convolution (strided: 4x4, then SiLU and 3x3), plus the shortcut."""

    def __init__(self, channels: int, *, strided: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 4, 2, 1) if strided else nn.Conv2d(channels, channels, 3, 1, 1)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1) if strided else None
        self.shortcut = nn.Conv2d(channels, channels, 4, 2, 1) if strided else None

    def forward(self, x: Tensor) -> Tensor:
        active = silu(x)
        hidden: Tensor = silu(self.first(active))
        if self.second is None or self.shortcut is None:
            return hidden + active
        result: Tensor = self.second(hidden) + self.shortcut(active)
        return result


class _LinearBlock(nn.Module):
    """SiLU, linear, SiLU (a second linear layer where the width changes), plus the shortcut."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, width)
        self.second = nn.Linear(width, width) if inputs != width else None
        self.shortcut = nn.Linear(inputs, width) if inputs != width else None

    def forward(self, x: Tensor) -> Tensor:
        active = silu(x)
        hidden: Tensor = silu(self.first(active))
        if self.second is None or self.shortcut is None:
            return hidden + active
        result: Tensor = self.second(hidden) + self.shortcut(active)
        return result


class ResidualNet(nn.Module):
    """(B, C, h, h) -> (B, outputs) for h = 4 * 2^n."""

    def __init__(self, shape: tuple[int, ...], channels: int, width: int, blocks: int, outputs: int) -> None:
        super().__init__()
        body: list[nn.Module] = [nn.Conv2d(shape[0], channels, 3, 1, 1)]
        for _ in range(square_stages(shape)):
            body.append(_ConvBlock(channels, strided=True))
            body += [_ConvBlock(channels, strided=False) for _ in range(blocks)]
        body.append(nn.Flatten())
        body += [_LinearBlock(16 * channels if i == 0 else width, width) for i in range(max(1, blocks))]
        self.body = nn.Sequential(*body, nn.SiLU(), nn.Linear(width, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, h) -> (B, outputs)."""
        result: Tensor = self.body(x)
        return result
