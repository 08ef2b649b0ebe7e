"""One network over the features of all layers: F(u) = f(g_0(u_0), ..., g_{L-1}(u_{L-1}))."""

import torch
from torch import Tensor, nn

from priorkit.core import Layout
from priorkit.energies.layer_net import layer_net
from priorkit.energies.perceptron import activation_layer, perceptron
from priorkit.energies.settings import EnergySettings

__all__ = ["CoupledEnergy"]


class CoupledEnergy(nn.Module):
    """(B, D) -> (B, outputs): one logit (or a few) for all layers."""

    def __init__(self, settings: EnergySettings, layout: Layout, *, outputs: int = 1) -> None:
        super().__init__()
        self.layout = layout
        self.features = nn.ModuleList(layer_net(shape, settings, settings.width, depth=0) for shape in layout.shapes)
        inputs, width = settings.width * len(layout), settings.width
        self.join = activation_layer(settings.activation)
        self.head = perceptron(
            inputs, width, settings.depth, outputs, dropout=settings.dropout, activation=settings.activation
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) -> (B, outputs)."""
        parts = [net(part) for net, part in zip(self.features, self.layout.split(x), strict=True)]
        result: Tensor = self.head(self.join(torch.cat(parts, dim=1)))
        return result
