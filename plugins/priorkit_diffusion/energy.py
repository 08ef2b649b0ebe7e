r"""Energies of all noise levels in one network: f(u, t).

The layers' features are scaled and shifted by functions of the level before a network of all of them (coupled), or one per
layer (separable). A level is encoded by the sinusoids of the released code: of the integer t, 64 cosines and 64 sines with
frequencies 10^(-4 k / 64).
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from priorkit.core import Layout
from priorkit.energies import EnergySettings
from priorkit.energies.layer_net import layer_net
from priorkit.energies.perceptron import activation_layer, perceptron

__all__ = ["LevelEnergy", "level_features"]

FREQUENCIES = 64


def level_features(level: Tensor) -> Tensor:
    """Return sinusoids of the levels (B,): (B, 128), float32."""
    k = torch.arange(FREQUENCIES, dtype=torch.float32, device=level.device)
    angle = level[:, None] * (10.0 ** (-4 * k / FREQUENCIES))
    return torch.cat([angle.cos(), angle.sin()], dim=1)


class LevelEnergy(nn.Module):
    """(B, D) and levels (B,) -> (B, 1) if coupled, (B, L) if separable. The output is initialised at 0."""

    table: Tensor

    def __init__(self, settings: EnergySettings, layout: Layout, levels: int) -> None:
        super().__init__()
        self.layout = layout
        count, width = len(layout), settings.width
        joint = not settings.separable(layout)
        inputs = count * width if joint else width
        self.features = nn.ModuleList(layer_net(shape, settings, width, depth=0) for shape in layout.shapes)
        number = 1 if joint else count
        head_of = partial(perceptron, dropout=settings.dropout, activation=settings.activation)
        heads = [head_of(inputs, width, settings.depth, 1) for _ in range(number)]
        for head in heads:
            for parameter in head[-1].parameters():
                nn.init.zeros_(parameter)
        self.heads, self.join = nn.ModuleList(heads), activation_layer(settings.activation)
        self.level = nn.Sequential(nn.Linear(2 * FREQUENCIES, width), nn.SiLU(), nn.Linear(width, 2 * count * width))
        self.register_buffer("table", level_features(torch.arange(levels)), persistent=False)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """(B, D), (B,) int64 -> (B, 1) or (B, L)."""
        parts = [net(part) for net, part in zip(self.features, self.layout.split(x), strict=True)]
        # There are few levels; a product with the rows' one-hot codes has a much cheaper gradient than indexing.
        code = one_hot(level, len(self.table)).to(x.dtype)
        shift, scale = (code @ self.level(self.table.to(x.dtype))).chunk(2, dim=1)
        hidden = self.join(torch.addcmul(shift, torch.cat(parts, dim=1), 1 + scale))
        if len(self.heads) == 1:
            result: Tensor = self.heads[0](hidden)
            return result
        return torch.cat([head(part) for head, part in zip(self.heads, hidden.chunk(len(self.heads), 1), strict=True)], 1)
