"""Perceptrons with leaky ReLU 0.2, and the conditional Gaussians on top of them."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from priorkit.core import Context
from priorkit.likelihoods import full_precision

__all__ = ["SLOPE", "Conditional", "perceptron"]

SLOPE = 0.2
_SMALLEST_SCALE = 0.01
# exp(8) is far above any useful scale and far below overflow in every precision of the engine.
_LARGEST_LOG_SCALE = 8.0


def perceptron(sizes: Sequence[int]) -> nn.Sequential:
    """Return linear layers of the given sizes, each followed by the activation."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers)


class Conditional(nn.Module):
    """N(mean(a), scale(a)) of a vector given another, with scale = exp(log scale) + 0.01 (JointEBM's rule)."""

    def __init__(self, inputs: int, outputs: int, *, hidden: int, depth: int) -> None:
        super().__init__()
        self.body = perceptron([inputs, *[hidden] * depth])
        self.head = nn.Linear(hidden, 2 * outputs)

    def forward(self, given: Tensor) -> Context:
        """Return mean and scale (B, outputs) and features (B, hidden) for given (B, inputs)."""
        features: Tensor = self.body(given)
        mean, log_scale = full_precision(self.head, features).chunk(2, dim=1)
        return Context(mean, log_scale.clamp(max=_LARGEST_LOG_SCALE).exp() + _SMALLEST_SCALE, features)
