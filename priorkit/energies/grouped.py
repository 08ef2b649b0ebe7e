"""Convolutional networks of adjacent layers with equal shapes, computed as one: grouped convolutions, batched products.

Adjacent layers are adjacent columns of u, so that (B, L C h h) is a map of L C channels without a copy. For chains: the
stacked filters are stored while the networks do not change, and pass no gradient to them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priorkit.energies.convolutional import SLOPE, ConvolutionalNet

__all__ = ["GroupedNets", "runs_of_equals"]

Item = TypeVar("Item")


def runs_of_equals(items: Sequence[Item]) -> list[slice]:
    """Return the longest runs of equal adjacent entries: [a, a, b] -> 0:2, 2:3."""
    starts = [i for i in range(len(items)) if i == 0 or items[i] != items[i - 1]]
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], len(items)], strict=True)]


@dataclass(frozen=True)
class _Stacked:
    convolutions: list[tuple[Tensor, Tensor]]
    """Weights (L c_out, c_in, 4, 4) and biases (L c_out,)."""
    products: list[tuple[Tensor, Tensor]]
    """Weights (L, inputs, outputs) and biases (L, 1, outputs)."""


class GroupedNets:
    """f_i of L networks with the same shapes."""

    def __init__(self, nets: Sequence[ConvolutionalNet], shape: tuple[int, ...]) -> None:
        self.nets, self.shape = nets, shape
        self._key: tuple[int, ...] = ()
        self._kept: _Stacked | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Map the networks' layers, (B, L * C h h), to their outputs, (B, L * outputs)."""
        stacked, count = self._stacked(), len(self.nets)
        maps = x.reshape(len(x), count * self.shape[0], *self.shape[1:])
        for weight, bias in stacked.convolutions:
            maps = maps.contiguous(memory_format=torch.channels_last)
            maps = F.leaky_relu(F.conv2d(maps, weight, bias, 2, 1, 1, count), SLOPE)
        rows = maps.reshape(len(x), count, -1).transpose(0, 1)
        for weight, bias in stacked.products[:-1]:
            rows = F.leaky_relu(torch.baddbmm(bias, rows, weight), SLOPE)
        weight, bias = stacked.products[-1]
        return torch.baddbmm(bias, rows, weight).transpose(0, 1).flatten(1)

    def forget(self) -> None:
        """Discard the stacked filters."""
        self._kept = None

    def _stacked(self) -> _Stacked:
        """Return the stacked filters, computed again when a parameter has changed or moved."""
        parameters = [parameter for net in self.nets for parameter in net.parameters()]
        key = tuple(number for parameter in parameters for number in (parameter.data_ptr(), parameter._version))
        if self._kept is None or key != self._key:
            self._key, self._kept = key, self._stack()
        return self._kept

    @torch.no_grad()
    def _stack(self) -> _Stacked:
        convolutions = [_modules(net, nn.Conv2d) for net in self.nets]
        products = [_modules(net, nn.Linear) for net in self.nets]
        return _Stacked(
            [
                (
                    torch.cat([one.weight for one in layer]).contiguous(memory_format=torch.channels_last),
                    torch.cat([one.bias for one in layer if one.bias is not None]),
                )
                for layer in zip(*convolutions, strict=True)
            ],
            [
                (torch.stack([one.weight.T for one in layer]).contiguous(), torch.stack([one.bias[None] for one in layer]))
                for layer in zip(*products, strict=True)
            ],
        )


Kind = TypeVar("Kind", bound=nn.Module)


def _modules(net: nn.Module, kind: type[Kind]) -> list[Kind]:
    return [module for module in net.modules() if isinstance(module, kind)]
