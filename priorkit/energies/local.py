"""Energies of spatial layers as a sum of local terms, for maps too large for a network of all their entries.

Stride-1 convolutions see neighbourhoods, their features are summed over the positions, and a linear layer of every entry and
its square is added: a field of learned experts (Roth & Black, Fields of Experts, 2005) plus a diagonal Gaussian. Few weights
serve many positions, so a layer of 512 entries can be learnt from few images; measured by `benchmarks/couplings.py`.
"""

from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from priorkit.errors import UsageError

__all__ = ["LocalNet"]


class LocalNet(nn.Module):
    """(B, C, h, w) -> (B, outputs), through `depth` residual 3x3 convolutions above a first one."""

    def __init__(self, shape: tuple[int, ...], channels: int, depth: int, outputs: int) -> None:
        super().__init__()
        if len(shape) != 3:
            raise UsageError(
                f"energy.network: local needs maps (C, h, w), got a layer of shape {shape}. Use --set "
                "prior.energy.network=mlp."
            )
        self.first = nn.Conv2d(shape[0], channels, 3, padding=1)
        self.position = nn.Parameter(torch.zeros(1, channels, *shape[1:]))
        self.blocks = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(depth))
        self.last = nn.Linear(channels + 2 * prod(shape), outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, outputs)."""
        hidden = self.first(x) + self.position
        for block in self.blocks:
            hidden = hidden + 0.5 * block(silu(hidden))
        terms = [silu(hidden).sum((2, 3)), x.flatten(1), x.flatten(1).square() - 1]
        result: Tensor = self.last(torch.cat(terms, dim=1))
        return result
