"""Random Fourier features for layers of a few coordinates, where a density may have edges that an mlp learns slowly.

Measured on the 2-D checkerboard by `benchmarks/toys.py`; the features are sin and cos of x w with w ~ N(0, std^2) (Tancik et
al., Fourier Features Let Networks Learn High Frequency Functions, 2020), concatenated to x.
"""

import torch
from torch import Tensor, nn

__all__ = ["FourierFeatures"]


class FourierFeatures(nn.Module):
    """(B, d) -> (B, d + 2 * count), with fixed random frequencies."""

    frequencies: Tensor

    def __init__(self, inputs: int, count: int = 64, std: float = 3.0) -> None:
        super().__init__()
        self.outputs = inputs + 2 * count
        self.register_buffer("frequencies", torch.randn(inputs, count) * std)

    def forward(self, x: Tensor) -> Tensor:
        """(B, d) -> (B, d + 2 * count)."""
        angles = x @ self.frequencies
        return torch.cat([x, angles.sin(), angles.cos()], dim=1)
