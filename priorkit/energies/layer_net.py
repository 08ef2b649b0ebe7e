"""The network that reads one layer of the hierarchy."""

from math import prod

from torch import nn

from priorkit.energies.convolutional import ConvolutionalNet
from priorkit.energies.fourier import FourierFeatures
from priorkit.energies.local import LocalNet
from priorkit.energies.perceptron import perceptron
from priorkit.energies.residual import ResidualNet
from priorkit.energies.settings import EnergySettings

__all__ = ["layer_net"]


def layer_net(shape: tuple[int, ...], settings: EnergySettings, outputs: int, *, depth: int) -> nn.Module:
    """(B, *shape) -> (B, outputs); `depth` counts the hidden layers."""
    network: str = settings.network
    if network == "auto":
        network = _fitting(shape)
    if network == "local":
        return LocalNet(shape, settings.channels, depth, outputs)
    if network == "conv":
        return ConvolutionalNet(shape, settings.channels, outputs)
    if network == "residual":
        return ResidualNet(shape, settings.channels, settings.width, settings.blocks, outputs)
    start: list[nn.Module] = [nn.Flatten()]
    inputs = prod(shape)
    if network == "fourier":
        features = FourierFeatures(inputs)
        start.append(features)
        inputs = features.outputs
    net = perceptron(inputs, settings.width, depth, outputs, dropout=settings.dropout, activation=settings.activation)
    return nn.Sequential(*start, net)


def _fitting(shape: tuple[int, ...]) -> str:
    """The network that `auto` means."""
    if prod(shape) <= 3:
        return "fourier"
    return "local" if len(shape) == 3 and min(shape[1:]) >= 4 else "mlp"
