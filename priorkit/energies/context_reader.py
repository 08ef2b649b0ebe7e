"""Maps a context to a hidden state, which is computed once for all candidates.

Contexts are standardised over batches, entry by entry: features of a generator have an arbitrary scale, and on Fashion-MNIST
a network that used them unscaled (0.15) had learnt nothing after 600 steps.
"""

from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from priorkit.energies.descent import ContextShape

__all__ = ["MapReader", "context_reader"]


def context_reader(context: ContextShape, hidden: tuple[int, ...]) -> nn.Module:
    """Return a module for a context (B, ...) -> (B, *hidden), a vector or a map."""
    return MapReader(context, hidden) if len(hidden) == 3 else _VectorReader(context, hidden[0])


class _VectorReader(nn.Module):
    """(B, ...) -> (B, width)."""

    def __init__(self, context: ContextShape, width: int) -> None:
        super().__init__()
        self.standardise = nn.BatchNorm1d(context.size, affine=False)
        self.linear = nn.Linear(context.size, width)

    def forward(self, context: Tensor) -> Tensor:
        result: Tensor = self.linear(self.standardise(context.flatten(1)))
        return result


class MapReader(nn.Module):
    """(B, ...) -> (B, channels, h, w): maps resized to the layer's side and reduced by a 1x1 convolution, all else mapped to
    the whole map by a linear function."""

    def __init__(self, context: ContextShape, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.context, self.side = context, hidden[1:]
        self.standardise = nn.BatchNorm1d(context.size, affine=False)
        maps = sum(part[0] for part in context.parts if len(part) == 3)
        rest = sum(prod(part) for part in context.parts if len(part) != 3)
        self.maps = nn.Conv2d(maps, hidden[0], 1) if maps else None
        self.rest = nn.Linear(rest, hidden[0]) if rest else None

    def forward(self, context: Tensor) -> Tensor:
        parts, maps, rest = self.context.parts, [], []
        context = self.standardise(context.flatten(1))
        columns = torch.split(context, [prod(part) for part in parts], 1)
        for part, column in zip(parts, columns, strict=True):
            if len(part) == 3:
                whole = column.reshape(len(column), *part)
                maps.append(whole if part[1:] == self.side else interpolate(whole, size=self.side))
            else:
                rest.append(column.flatten(1))
        found = context.new_zeros(())
        if self.maps is not None:
            found = found + self.maps(torch.cat(maps, dim=1))
        if self.rest is not None:
            found = found + self.rest(torch.cat(rest, dim=1))[:, :, None, None]
        return found.expand(-1, -1, *self.side)
