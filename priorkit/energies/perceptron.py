"""Fully connected networks; their default activation is smooth, so that Langevin gradients are continuous."""

from typing import Literal

from torch import nn

__all__ = ["Activation", "activation_layer", "perceptron"]

Activation = Literal["silu", "gelu", "leaky_relu"]
SLOPE = 0.2
"""Slope of the leaky ReLU (JointEBM's released code; the multi-stage paper gives none)."""


def activation_layer(activation: Activation) -> nn.Module:
    """Return the layer of that name."""
    match activation:
        case "silu":
            return nn.SiLU()
        case "gelu":
            return nn.GELU()
        case "leaky_relu":
            return nn.LeakyReLU(SLOPE)


def perceptron(
    inputs: int, width: int, depth: int, outputs: int, *, dropout: float = 0.0, activation: Activation = "silu"
) -> nn.Sequential:
    """Return a network (B, inputs) -> (B, outputs) with `depth` hidden layers."""
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Linear(inputs if i == 0 else width, width), activation_layer(activation)]
        if dropout:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(width if depth else inputs, outputs))
