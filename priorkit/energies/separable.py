"""A sum of one network per layer: F(u) = sum_i f_i(u_i)."""

import torch
from torch import Tensor, nn

from priorkit.core import Layout
from priorkit.energies.convolutional import ConvolutionalNet
from priorkit.energies.grouped import GroupedNets, runs_of_equals
from priorkit.energies.layer_net import layer_net
from priorkit.energies.settings import EnergySettings

__all__ = ["SeparableEnergy"]


class SeparableEnergy(nn.Module):
    """(B, D) -> (B, L): one logit per layer."""

    def __init__(self, settings: EnergySettings, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.nets = nn.ModuleList(layer_net(shape, settings, 1, depth=settings.depth) for shape in layout.shapes)
        nets = list(self.nets)
        self._runs = runs_of_equals(layout.shapes)
        self._grouped = [
            GroupedNets(equal, layout.shapes[run.start])
            for run in self._runs
            if (equal := [net for net in nets[run] if isinstance(net, ConvolutionalNet)])
        ]

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) -> (B, L)."""
        if self._grouped and not self._learning() and not torch.is_autocast_enabled(x.device.type):
            sizes = [sum(self.layout.sizes[run]) for run in self._runs]
            return torch.cat([nets(part) for nets, part in zip(self._grouped, torch.split(x, sizes, 1), strict=True)], dim=1)
        return self.separately(x)

    def train(self, mode: bool = True) -> "SeparableEnergy":
        """Discard the stored filters: when the mode changes, something else may have changed."""
        for nets in self._grouped:
            nets.forget()
        super().train(mode)
        return self

    def _learning(self) -> bool:
        """Return whether a gradient of the networks may be needed."""
        return torch.is_grad_enabled() and any(parameter.requires_grad for parameter in self.nets.parameters())

    def separately(self, x: Tensor) -> Tensor:
        """Compute (B, D) -> (B, L), one network after the other."""
        return torch.cat([net(part) for net, part in zip(self.nets, self.layout.split(x), strict=True)], dim=1)
