"""Fully connected networks with smooth activations, so that Langevin gradients are continuous."""

from torch import nn

__all__ = ["perceptron"]


def perceptron(inputs: int, width: int, depth: int, outputs: int, *, dropout: float = 0.0) -> nn.Sequential:
    """(B, inputs) -> (B, outputs) through `depth` hidden layers of SiLU."""
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Linear(inputs if i == 0 else width, width), nn.SiLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(width if depth else inputs, outputs))
