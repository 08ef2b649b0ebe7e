"""Residual networks of x, the noise level and what is known of the layers above; the output is 0 before training."""

from math import prod
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from priorkit.energies.context_reader import context_reader
from priorkit.energies.descent import ContextShape
from priorkit.energies.fourier import FourierFeatures
from priorkit_flowmatching.settings import LOW_DIMENSION, VelocitySettings

__all__ = ["VelocityNet"]

SMALLEST_MAP = 4
"""Smallest side of a map for convolutions."""
FREQUENCIES = 5
"""Number of frequencies of the angle's sines and cosines: 1, 2, 4, 8, 16."""
LEVEL_INPUTS = 2 * FREQUENCIES + 1
LARGEST_LOG_RATIO = 5.0
"""Where the log signal-to-noise ratio that the network reads ends."""

Layer = TypeVar("Layer", bound=nn.Module)


def level_features(angle: Tensor) -> Tensor:
    """Return sines and cosines of the angle (B,) and its log signal-to-noise ratio, (B, 11)."""
    frequencies = torch.bitwise_left_shift(1, torch.arange(FREQUENCIES, device=angle.device))
    turns = angle[:, None] * frequencies
    ratio = (angle.sin().clamp(min=1e-6).log() - angle.cos().clamp(min=1e-6).log()) / LARGEST_LOG_RATIO
    return torch.cat([turns.sin(), turns.cos(), ratio.clamp(-1, 1)[:, None]], dim=1)


class VelocityNet(nn.Module):
    """(B, d) at angles (B,) -> (B, d), for one layer of d latents."""

    def __init__(self, shape: tuple[int, ...], context: ContextShape | None, settings: VelocitySettings) -> None:
        super().__init__()
        spatial = len(shape) == 3 and min(shape[1:]) >= SMALLEST_MAP
        self.body = _Maps(shape, settings) if spatial else _Vectors(prod(shape), settings)
        self.reader = None if context is None else context_reader(context, self.body.hidden)
        width = settings.width
        self.level = nn.Sequential(nn.Linear(LEVEL_INPUTS, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def given(self, context: Tensor | None) -> Tensor | None:
        """Return what the context (B, ...) adds to the first hidden state: it is the same at every step of the ODE."""
        return None if self.reader is None or context is None else self.reader(context)

    def forward(self, x: Tensor, angle: Tensor, given: Tensor | None = None) -> Tensor:
        """(B, d), (B,) or (1,) and what `given` returned -> (B, d)."""
        result: Tensor = self.body(x, self.level(level_features(angle)), given)
        return result


class _Vectors(nn.Module):
    """(B, d), levels (B, width) -> (B, d)."""

    def __init__(self, size: int, settings: VelocitySettings) -> None:
        super().__init__()
        width = settings.width
        self.hidden: tuple[int, ...] = (width,)
        self.features = FourierFeatures(size) if size <= LOW_DIMENSION else None
        self.stem = nn.Linear(size if self.features is None else self.features.outputs, width)
        self.blocks = nn.ModuleList(_Block(width, settings) for _ in range(settings.depth))
        self.norm = nn.LayerNorm(width)
        self.last = _zero(nn.Linear(width, size))

    def forward(self, x: Tensor, level: Tensor, given: Tensor | None) -> Tensor:
        hidden = self.stem(x if self.features is None else self.features(x))
        hidden = hidden if given is None else hidden + given
        for block in self.blocks:
            hidden = block(hidden, level)
        result: Tensor = self.last(silu(self.norm(hidden)))
        return result


class _Block(nn.Module):
    """h + W dropout(silu((1 + a) W' silu(norm(h)) + b)) with a and b linear in the level."""

    def __init__(self, width: int, settings: VelocitySettings) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width, width)
        self.level = _zero(nn.Linear(settings.width, 2 * width))
        self.dropout = nn.Dropout(settings.dropout)
        self.second = nn.Linear(width, width)

    def forward(self, h: Tensor, level: Tensor) -> Tensor:
        scale, shift = self.level(level).chunk(2, dim=1)
        inner = (1 + scale) * self.first(silu(self.norm(h))) + shift
        result: Tensor = h + self.second(self.dropout(silu(inner)))
        return result


class _Maps(nn.Module):
    """(B, d), levels (B, width) -> (B, d), both maps of one shape, flattened."""

    def __init__(self, shape: tuple[int, ...], settings: VelocitySettings) -> None:
        super().__init__()
        channels = settings.channels
        self.shape, self.hidden = shape, (channels, *shape[1:])
        self.stem = nn.Conv2d(shape[0], channels, 3, padding=1)
        # Latents of images are not the same everywhere.
        self.position = nn.Parameter(torch.zeros(1, *self.hidden))
        self.blocks = nn.ModuleList(_MapBlock(channels, settings) for _ in range(settings.depth))
        self.norm = nn.GroupNorm(1, channels)
        self.last = _zero(nn.Conv2d(channels, shape[0], 3, padding=1))

    def forward(self, x: Tensor, level: Tensor, given: Tensor | None) -> Tensor:
        hidden = self.stem(x.reshape(-1, *self.shape)) + self.position
        hidden = hidden if given is None else hidden + given
        for block in self.blocks:
            hidden = block(hidden, level)
        result: Tensor = self.last(silu(self.norm(hidden)))
        return result.flatten(1)


class _MapBlock(nn.Module):
    """As `_Block`, with convolutions; a linear function of the map's mean is added at every position."""

    def __init__(self, channels: int, settings: VelocitySettings) -> None:
        super().__init__()
        self.first_norm = nn.GroupNorm(1, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.whole = nn.Linear(channels, channels)
        self.level = _zero(nn.Linear(settings.width, 2 * channels))
        self.second_norm = nn.GroupNorm(1, channels)
        self.dropout = nn.Dropout(settings.dropout)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, h: Tensor, level: Tensor) -> Tensor:
        inner = self.first(silu(self.first_norm(h)))
        inner = inner + self.whole(inner.mean((2, 3)))[:, :, None, None]
        scale, shift = self.level(level)[:, :, None, None].chunk(2, dim=1)
        inner = (1 + scale) * self.second_norm(inner) + shift
        result: Tensor = h + self.second(self.dropout(silu(inner)))
        return result


def _zero(layer: Layer) -> Layer:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
