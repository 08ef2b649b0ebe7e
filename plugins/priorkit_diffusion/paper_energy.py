"""The energy network of the diffusion paper's released CIFAR-10 code: one for each layer, spectrally normalised.

A layer [c, h, h] goes through n = log2(h) - 1 strided residual blocks to 2 x 2, then two residual linear stages; SiLU
throughout, no biases.  The level's sinusoids enter twice: added to the layer itself, and in every block.
"""

from math import log2

import torch
from torch import Tensor, nn
from torch.nn.functional import silu
from torch.nn.utils.parametrizations import spectral_norm

from priorkit.core import Layout
from priorkit.errors import UsageError
from priorkit_diffusion.energy import FREQUENCIES, level_features

__all__ = ["PaperEnergy"]

EMBEDDING = 2 * FREQUENCIES


def _linear(inputs: int, outputs: int) -> nn.Module:
    return spectral_norm(nn.Linear(inputs, outputs, bias=False))


def _halving(inputs: int, outputs: int) -> nn.Module:
    return spectral_norm(nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False))


class _Block(nn.Module):
    """Half the side: a strided and a plain convolution with the level between them, and a strided shortcut."""

    def __init__(self, inputs: int, channels: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.down, self.shortcut = _halving(inputs, channels), _halving(inputs, channels)
        self.plain = spectral_norm(nn.Conv2d(channels, channels, 3, 1, 1, bias=False))
        self.level = _linear(EMBEDDING, channels)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, c, h, h), (B, 128) -> (B, channels, h / 2, h / 2)."""
        x = x if self.first else silu(x)
        hidden = self.down(x) + self.level(silu(embedding))[:, :, None, None]
        result: Tensor = self.plain(silu(hidden)) + self.shortcut(x)
        return result


class _LinearStage(nn.Module):
    """Half the width: two linear layers with the level between them, and a linear shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _linear(width, width // 2), _linear(width // 2, width // 2)
        self.shortcut, self.level = _linear(width, width // 2), _linear(EMBEDDING, width // 2)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, width), (B, 128) -> (B, width / 2)."""
        active = silu(x)
        hidden = self.first(active) + self.level(silu(embedding))
        result: Tensor = self.second(silu(hidden)) + self.shortcut(active)
        return result


class _LayerEnergy(nn.Module):
    """One layer's energy."""

    def __init__(self, shape: tuple[int, ...], channels: int) -> None:
        super().__init__()
        count, inputs = _halvings(shape), shape[0]
        self.shift = nn.Sequential(_linear(EMBEDDING, inputs), nn.SiLU(), _linear(inputs, inputs))
        self.embedding = nn.Sequential(_linear(EMBEDDING, EMBEDDING), nn.SiLU(), _linear(EMBEDDING, EMBEDDING))
        self.blocks = nn.ModuleList(_Block(channels if i else inputs, channels, first=not i) for i in range(count))
        self.stages = nn.ModuleList([_LinearStage(4 * channels), _LinearStage(2 * channels)])
        self.last = _linear(channels, 1)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """(B, c, h, h), (B, 128) -> (B, 1)."""
        embedding = self.embedding(features)
        x = x + self.shift(features)[:, :, None, None]
        for block in self.blocks:
            x = block(x, embedding)
        x = x.flatten(1)
        for stage in self.stages:
            x = stage(x, embedding)
        result: Tensor = self.last(silu(x))
        return result


class PaperEnergy(nn.Module):
    """(B, D) and levels (B,) -> (B, L), separable."""

    def __init__(self, layout: Layout, channels: int) -> None:
        super().__init__()
        self.layout = layout
        self.nets = nn.ModuleList(_LayerEnergy(shape, channels) for shape in layout.shapes)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """(B, D), (B,) int64 -> (B, L)."""
        features = level_features(level).to(x.dtype)
        return torch.cat([net(part, features) for net, part in zip(self.nets, self.layout.split(x), strict=True)], dim=1)


def _halvings(shape: tuple[int, ...]) -> int:
    """Return how often a square map (c, h, h) is halved until its side is 2."""
    if len(shape) != 3 or shape[1] != shape[2] or shape[1] < 4 or log2(shape[1]) % 1:
        raise UsageError(
            f"prior.network: the paper's network needs square maps of side 4, 8, 16, ..., got {shape}. "
            "Use --set prior.network=modulated."
        )
    return int(log2(shape[1])) - 1
