"""The energy network of JointEBM's released two-stage code for one layer (methods: CelebA-HQ-256 configuration).

Strided 4x4 convolutions with leaky ReLU down to 4x4, then as many linear layers of 200 as there were convolutions.
"""

from math import log2

from torch import Tensor, nn

from priorkit.errors import UsageError

__all__ = ["SLOPE", "ConvolutionalNet"]

SLOPE = 0.2
"""Slope of the leaky ReLU."""


class ConvolutionalNet(nn.Module):
    """(B, C, h, h) -> (B, outputs) for h = 4 * 2^n."""

    def __init__(self, shape: tuple[int, ...], channels: int, outputs: int, width: int = 200) -> None:
        super().__init__()
        stages = square_stages(shape)
        steps: list[nn.Module] = []
        for i in range(stages):
            steps += [nn.Conv2d(shape[0] if i == 0 else channels, channels, 4, 2, 1), nn.LeakyReLU(SLOPE)]
        steps.append(nn.Flatten())
        inputs = (channels if stages else shape[0]) * 16
        for i in range(max(1, stages)):
            steps += [nn.Linear(inputs if i == 0 else width, width), nn.LeakyReLU(SLOPE)]
        self.body = nn.Sequential(*steps, nn.Linear(width, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, h) -> (B, outputs)."""
        result: Tensor = self.body(x)
        return result


def square_stages(shape: tuple[int, ...]) -> int:
    """Return how often a square map (C, h, h) is halved until its side is 4."""
    if len(shape) != 3 or shape[1] != shape[2] or shape[1] < 4 or log2(shape[1]) % 1:
        raise UsageError(
            f"energy.network: convolutions need square maps of side 4, 8, 16, ..., got {shape}. Use --set "
            "prior.energy.network=mlp."
        )
    return int(log2(shape[1])) - 2
