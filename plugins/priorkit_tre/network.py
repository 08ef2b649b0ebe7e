"""One network for all bridges: a body that they share and an output for each.

A chain on an intermediate density needs the sum of several bridges' log ratios at one point.  With a shared body and no
input that tells the bridge, that is one evaluation, whatever the number of bridges.
"""

import torch
from torch import Tensor, nn

from priorkit.core import Layout
from priorkit.energies import EnergySettings, build_energy
from priorkit.energies.layer_net import layer_net

__all__ = ["CoupledBridges", "SeparableBridges", "bridge_energy"]


class CoupledBridges(nn.Module):
    """(B, D) -> (B, 1, K): one network over all layers; 0 at first."""

    def __init__(self, settings: EnergySettings, layout: Layout, bridges: int) -> None:
        super().__init__()
        self.net = build_energy(settings, layout, zero=True, outputs=bridges)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) -> (B, 1, K)."""
        logits: Tensor = self.net(x)
        return logits[:, None]


class SeparableBridges(nn.Module):
    """(B, D) -> (B, L, K): one network per layer; 0 at first."""

    def __init__(self, settings: EnergySettings, layout: Layout, bridges: int) -> None:
        super().__init__()
        self.layout = layout
        self.nets = nn.ModuleList(layer_net(shape, settings, bridges, depth=settings.depth) for shape in layout.shapes)
        for net in self.nets:
            last = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) -> (B, L, K)."""
        return torch.stack([net(part) for net, part in zip(self.nets, self.layout.split(x), strict=True)], dim=1)


def bridge_energy(settings: EnergySettings, layout: Layout, bridges: int) -> nn.Module:
    """Return the network for K bridges, (B, D) -> (B, L, K) if separable, else (B, 1, K).

    Raises UsageError for conditional energies, which this prior does not have.
    """
    made = SeparableBridges if settings.separable(layout) else CoupledBridges
    return made(settings, layout, bridges)
