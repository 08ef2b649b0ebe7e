"""A residual perceptron with layer normalisation for layers of about a hundred latents, and the parts it shares with maps.

A linear function of every entry and its square is added to the network, the log ratio of two diagonal Gaussians: a network
of smooth units learns it slowly, and it is the first difference of an aggregated posterior.
"""

from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

__all__ = ["GaussianTerm", "ResidualBlock", "ResidualMlp"]


class ResidualBlock(nn.Module):
    """h + W dropout(silu(W' norm(h))), initially h itself (pre-activation, He et al. 2016; layer norm, Ba et al. 2016)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.second = nn.Linear(width, width)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, h: Tensor) -> Tensor:
        """(B, width) -> (B, width)."""
        result: Tensor = h + self.second(self.dropout(silu(self.first(self.norm(h)))))
        return result


class GaussianTerm(nn.Module):
    """A linear function of x and x^2 - 1, initially 0."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * inputs, outputs)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, *shape) -> (B, outputs)."""
        flat = x.flatten(1)
        result: Tensor = self.linear(torch.cat([flat, flat.square() - 1], dim=1))
        return result


class ResidualMlp(nn.Module):
    """(B, *shape) -> (B, outputs) by `blocks` residual blocks; `given` (B, width) is added to the first hidden state."""

    def __init__(self, shape: tuple[int, ...], width: int, blocks: int, outputs: int, *, dropout: float) -> None:
        super().__init__()
        self.hidden: tuple[int, ...] = (width,)
        self.stem = nn.Linear(prod(shape), width)
        self.blocks = nn.Sequential(*(ResidualBlock(width, dropout) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.gaussian = GaussianTerm(prod(shape), outputs)
        self.last = nn.Linear(width, outputs)

    def forward(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        """(B, *shape), (B, width) or None -> (B, outputs)."""
        hidden = self.stem(x.flatten(1))
        hidden = self.blocks(hidden if given is None else hidden + given)
        result: Tensor = self.last(silu(self.norm(hidden))) + self.gaussian(x)
        return result
