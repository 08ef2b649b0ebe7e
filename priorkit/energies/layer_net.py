"""The network that reads one layer of the hierarchy."""

from math import prod

from torch import nn

from priorkit.energies.convolutional import ConvolutionalNet
from priorkit.energies.fourier import FourierFeatures
from priorkit.energies.local import LocalNet
from priorkit.energies.perceptron import perceptron
from priorkit.energies.residual import ResidualNet
from priorkit.energies.residual_map import ResidualMap
from priorkit.energies.residual_mlp import ResidualMlp
from priorkit.energies.settings import EnergySettings

__all__ = ["layer_net", "network_of"]

FEW = 64
"""Number of latents below which a layer is read by a plain mlp."""


def layer_net(shape: tuple[int, ...], settings: EnergySettings, outputs: int, *, depth: int) -> nn.Module:
    """Return a network (B, *shape) -> (B, outputs); `depth` counts the hidden layers, or the residual blocks."""
    network = network_of(shape, settings)
    if network == "local":
        return LocalNet(shape, settings.channels, depth, outputs)
    if network == "conv":
        return ConvolutionalNet(shape, settings.channels, outputs)
    if network == "residual":
        return ResidualNet(shape, settings.channels, settings.width, settings.blocks, outputs)
    if network == "resmlp":
        return ResidualMlp(shape, 2 * settings.width, depth, outputs, dropout=settings.dropout)
    if network == "resmap":
        return ResidualMap(shape, settings.channels, settings.width, depth, outputs, dropout=settings.dropout)
    start: list[nn.Module] = [nn.Flatten()]
    inputs = prod(shape)
    if network == "fourier":
        features = FourierFeatures(inputs)
        start.append(features)
        inputs = features.outputs
    net = perceptron(inputs, settings.width, depth, outputs, dropout=settings.dropout, activation=settings.activation)
    return nn.Sequential(*start, net)


def network_of(shape: tuple[int, ...], settings: EnergySettings) -> str:
    """Return the network for a layer of this shape: the requested one, or the one that `auto` selects."""
    if settings.network != "auto":
        return settings.network
    if prod(shape) <= 3:
        return "fourier"
    if len(shape) == 3 and min(shape[1:]) >= 8:
        return "local"
    return "resmlp" if prod(shape) >= FEW else "mlp"
