r"""Random Fourier features of a few noised coordinates, each as fine as their noise allows.

A wave :math:`\sin(w \cdot x)` is multiplied by :math:`E[\cos(s\, w \cdot \epsilon)] = e^{-s^2 |w|^2 / 2}`, by which noise of
deviation s reduces its mean (Barron et al. 2021, "Mip-NeRF: A Multiscale Representation for Anti-Aliasing Neural Radiance
Fields").  Waves that are finer than the noise tell nothing and would only disturb; near the data, edges need them.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

__all__ = ["NoisedFourierFeatures"]

WAVES = 128
"""Number of random frequencies."""
LENGTHS = (0.5, 60.0)
"""Smallest and largest length of a frequency; its logarithm is uniform."""


class NoisedFourierFeatures(nn.Module):
    """x (B, d) at angles (B,) or (1,), which have noise of deviation cos(angle) -> (B, d + 256)."""

    frequencies: Tensor
    """w, (d, 128), fixed."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.outputs = size + 2 * WAVES
        low, high = LENGTHS
        self.register_buffer(
            "frequencies", normalize(torch.randn(size, WAVES), dim=0) * low * (high / low) ** torch.rand(WAVES)
        )

    def forward(self, x: Tensor, angle: Tensor) -> Tensor:
        """Return x and its damped sines and cosines."""
        phase, lengths = x @ self.frequencies, torch.linalg.vector_norm(self.frequencies, dim=0)
        damping = (-0.5 * (angle.cos()[:, None] * lengths).square()).exp()
        return torch.cat([x, damping * phase.sin(), damping * phase.cos()], dim=1)
