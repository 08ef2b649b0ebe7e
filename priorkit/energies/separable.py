"""A sum of one network a layer: F(u) = sum_i f_i(u_i)."""

import torch
from torch import Tensor, nn

from priorkit.core import Layout
from priorkit.energies.layer_net import layer_net
from priorkit.energies.settings import EnergySettings

__all__ = ["SeparableEnergy"]


class SeparableEnergy(nn.Module):
    """(B, D) -> (B, L): one logit a layer."""

    def __init__(self, settings: EnergySettings, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.nets = nn.ModuleList(layer_net(shape, settings, 1, depth=settings.depth) for shape in layout.shapes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) -> (B, L)."""
        return torch.cat([net(part) for net, part in zip(self.nets, self.layout.split(x), strict=True)], dim=1)
