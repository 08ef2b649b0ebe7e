"""The network of one layer given a context, for many candidates per context.

The contribution of a context is computed once per context, as a first hidden state that is added to each candidate's (`mlp`,
`resmlp`, `resmap`), or as channels concatenated to each candidate (the other networks of maps).
"""

from typing import cast

import torch
from torch import Tensor, nn

from priorkit.energies.context_reader import context_reader
from priorkit.energies.descent import ContextShape
from priorkit.energies.layer_net import layer_net, network_of
from priorkit.energies.perceptron import activation_layer, perceptron
from priorkit.energies.residual_map import ResidualMap
from priorkit.energies.residual_mlp import ResidualMlp
from priorkit.energies.settings import EnergySettings

__all__ = ["ConditionalNet", "conditional_net"]


class ConditionalNet(nn.Module):
    """x (B, N, *shape) and a context (B, ...) or None -> logits (B, N)."""

    def __init__(self, net: nn.Module, context: nn.Module | None) -> None:
        super().__init__()
        self.net = net
        self.reader = context

    def given(self, context: Tensor | None) -> Tensor | None:
        """Return the contribution of the context, (B, ...): the same for every candidate, so chains compute it once."""
        return None if self.reader is None or context is None else self.reader(context)

    def logits(self, x: Tensor, given: Tensor | None) -> Tensor:
        """Return the logits of candidates x (B, N, *shape) with the result of `given`: (B, N)."""
        if given is not None:
            given = given[:, None].expand(-1, x.shape[1], *given.shape[1:]).flatten(0, 1)
        found: Tensor = self.net(x.flatten(0, 1), given)
        return found.view(x.shape[:2])

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return logits, (B, N, *shape) and (B, ...) -> (B, N)."""
        return self.logits(x, self.given(context))


def conditional_net(
    shape: tuple[int, ...], context: ContextShape | None, settings: EnergySettings, channels: int
) -> ConditionalNet:
    """Return the network of a layer, whose logits are initially 0; `channels` is the width of a context concatenated to a
    map."""
    name = network_of(shape, settings)
    net: nn.Module
    hidden: tuple[int, ...]
    if name in ("resmlp", "resmap"):
        net = layer_net(shape, settings, 1, depth=settings.depth)
        hidden = cast(ResidualMlp | ResidualMap, net).hidden
    elif len(shape) == 3 and name != "mlp" and context is not None:
        hidden = (channels, *shape[1:])
        net = _Beside(layer_net((shape[0] + channels, *shape[1:]), settings, 1, depth=settings.depth))
    elif context is not None:
        hidden = (settings.width,)
        net = _Added(shape, settings)
    else:
        hidden, net = (), _Alone(layer_net(shape, settings, 1, depth=settings.depth))
    last = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return ConditionalNet(net, None if context is None else context_reader(context, hidden))


class _Alone(nn.Module):
    """A network of one argument."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        result: Tensor = self.net(x)
        return result


class _Beside(nn.Module):
    """A network of maps that reads the context as additional channels."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        result: Tensor = self.net(x if given is None else torch.cat([x, given], dim=1))
        return result


class _Added(nn.Module):
    """A perceptron to whose first hidden state the context is added."""

    def __init__(self, shape: tuple[int, ...], settings: EnergySettings) -> None:
        super().__init__()
        self.own = layer_net(shape, settings, settings.width, depth=0)
        width, activation = settings.width, settings.activation
        self.activation = activation_layer(activation)
        self.head = perceptron(width, width, settings.depth, 1, dropout=settings.dropout, activation=activation)

    def forward(self, x: Tensor, given: Tensor | None = None) -> Tensor:
        hidden = self.own(x)
        result: Tensor = self.head(self.activation(hidden if given is None else hidden + given))
        return result
