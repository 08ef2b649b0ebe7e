"""A residual convolutional network for maps of side 8 and more in which every position sees the whole map.

Each block adds a linear function of the map's mean to every position, similar to the factor in squeeze-and-excitation (Hu et
al. 2018): with 3x3 neighbourhoods alone, information would have to pass from one to the next. Positions have separate learnt
offsets, since latents of images differ between positions.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from priorkit.energies.residual_mlp import GaussianTerm, ResidualBlock
from priorkit.errors import UsageError

__all__ = ["MapBlock", "ResidualMap"]

READ = 256
"""Approximate number of entries of the last map that are read with their positions, in addition to the means of its
channels."""


class MapBlock(nn.Module):
    """(B, channels, h, w) -> the same; initially the identity."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.first_norm = nn.GroupNorm(1, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.whole = nn.Linear(channels, channels)
        self.second_norm = nn.GroupNorm(1, channels)
        self.dropout = nn.Dropout(dropout)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        for parameter in self.second.parameters():
            nn.init.zeros_(parameter)

    def forward(self, h: Tensor) -> Tensor:
        """Pre-activation, with a function of the map's mean added to every position."""
        inner = self.first(silu(self.first_norm(h)))
        inner = inner + self.whole(inner.mean((2, 3)))[:, :, None, None]
        result: Tensor = h + self.second(self.dropout(silu(self.second_norm(inner))))
        return result


class ResidualMap(nn.Module):
    """(B, C, h, w) -> (B, outputs); `given` (B, channels, h, w) is added to the first hidden map."""

    def __init__(
        self, shape: tuple[int, ...], channels: int, width: int, blocks: int, outputs: int, *, dropout: float
    ) -> None:
        super().__init__()
        if len(shape) != 3:
            raise UsageError(
                f"energy.network: resmap needs maps (C, h, w), got a layer of shape {shape}. Use --set "
                "prior.energy.network=resmlp."
            )
        places = shape[1] * shape[2]
        self.hidden: tuple[int, ...] = (channels, *shape[1:])
        self.stem = nn.Conv2d(shape[0], channels, 3, padding=1)
        self.position = nn.Parameter(torch.zeros(1, *self.hidden))
        self.blocks = nn.Sequential(*(MapBlock(channels, dropout) for _ in range(blocks)))
        self.norm = nn.GroupNorm(1, channels)
        few = max(1, READ // places)
        self.read = nn.Conv2d(channels, few, 1)
        self.head = nn.Sequential(
            nn.Linear(channels + few * places, width), ResidualBlock(width, dropout), nn.LayerNorm(width), nn.SiLU()
        )
        self.gaussian = GaussianTerm(shape[0] * places, outputs)
        self.last = nn.Linear(width, outputs)

    def forward(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        """(B, C, h, w), (B, channels, h, w) or None -> (B, outputs)."""
        hidden = self.stem(x) + self.position
        hidden = silu(self.norm(self.blocks(hidden if given is None else hidden + given)))
        seen = torch.cat([hidden.mean((2, 3)), self.read(hidden).flatten(1)], dim=1)
        result: Tensor = self.last(self.head(seen)) + self.gaussian(x)
        return result
