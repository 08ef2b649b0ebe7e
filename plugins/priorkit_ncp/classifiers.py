"""The classifier of one layer, with or without a context, for many candidates a context.

A map beside a map of the same side (a decoder's features) is reduced by a 1x1 convolution and put beside the layer's
channels, so that the network sees both at each place.  Any other context enters the first hidden layer by a linear map.
"""

import torch
from torch import Tensor, nn

from priorkit.energies import EnergySettings
from priorkit.energies.layer_net import layer_net
from priorkit.energies.perceptron import activation_layer, perceptron

__all__ = ["layer_classifier"]


def layer_classifier(
    shape: tuple[int, ...], context: tuple[int, ...] | None, settings: EnergySettings, channels: int
) -> nn.Module:
    """x (B, N, *shape) and a context (B, *context) or None -> logits (B, N), which are 0 to begin with."""
    net: nn.Module
    if context is None:
        net = _Alone(layer_net(shape, settings, 1, depth=settings.depth))
    elif len(shape) == len(context) == 3 and shape[1:] == context[1:]:
        net = _BesideMap(shape, context, settings, channels)
    else:
        net = _BesideVector(shape, context, settings)
    last = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return net


class _Alone(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """(B, N, *shape) -> (B, N)."""
        logits: Tensor = self.net(x.flatten(0, 1))
        return logits.view(x.shape[:2])


class _BesideMap(nn.Module):
    def __init__(self, shape: tuple[int, ...], context: tuple[int, ...], settings: EnergySettings, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(context[0], channels, 1)
        self.net = layer_net((shape[0] + channels, *shape[1:]), settings, 1, depth=settings.depth)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(B, N, c, h, w) and (B, C, h, w) -> (B, N)."""
        beside = self.reduce(context)[:, None].expand(-1, x.shape[1], -1, -1, -1)
        logits: Tensor = self.net(torch.cat([x, beside], dim=2).flatten(0, 1))
        return logits.view(x.shape[:2])


class _BesideVector(nn.Module):
    def __init__(self, shape: tuple[int, ...], context: tuple[int, ...], settings: EnergySettings) -> None:
        super().__init__()
        self.own = layer_net(shape, settings, settings.width, depth=0)
        self.given = nn.Sequential(nn.Flatten(), nn.Linear(torch.Size(context).numel(), settings.width))
        width, activation = settings.width, settings.activation
        head = perceptron(width, width, settings.depth, 1, dropout=settings.dropout, activation=activation)
        self.head = nn.Sequential(activation_layer(activation), head)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(B, N, *shape) and (B, ...) -> (B, N)."""
        own = self.own(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        logits: Tensor = self.head(own + self.given(context)[:, None])
        return logits[..., 0]
