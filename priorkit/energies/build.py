"""Builds a network from its settings."""

import torch
from torch import nn

from priorkit.core import Layout
from priorkit.energies.coupled import CoupledEnergy
from priorkit.energies.separable import SeparableEnergy
from priorkit.energies.settings import EnergySettings

__all__ = ["build_energy"]


def build_energy(settings: EnergySettings, layout: Layout, *, zero: bool = False, outputs: int | None = None) -> nn.Module:
    """Return a network (B, D) -> (B, L) if separable, (B, 1) if coupled; (B, outputs), coupled, if `outputs` is given.

    With `zero` every output layer is initialised at 0, so that F = 0.
    """
    energy: SeparableEnergy | CoupledEnergy
    if settings.separable(layout) and outputs is None:
        energy = SeparableEnergy(settings, layout)
    else:
        energy = CoupledEnergy(settings, layout, outputs=outputs or 1)
    if zero:
        heads = energy.nets if isinstance(energy, SeparableEnergy) else [energy.head]
        for head in heads:
            last = [module for module in head.modules() if isinstance(module, nn.Linear)][-1]
            torch.nn.init.zeros_(last.weight)
            torch.nn.init.zeros_(last.bias)
    return energy
