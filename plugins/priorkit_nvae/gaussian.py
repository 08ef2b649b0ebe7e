r"""The Gaussian of every conditional: :math:`\mu = 5\tanh(m/5)`, :math:`\sigma = (e^{5\tanh(l/5)} + 0.01)\,t`.

With m = l = 0 its scale is 1.01, not 1: the top prior's, too.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from priorkit.likelihoods import normal_kl, normal_log_prob, soft_clamp, widened

__all__ = ["Gaussian"]


@dataclass(frozen=True)
class Gaussian:
    """Independent entries, mean and scale (B, L, h, w)."""

    mean: Tensor
    scale: Tensor

    @classmethod
    def of(cls, parameters: Tensor, *, temperature: float = 1.0) -> "Gaussian":
        """Return the Gaussian for raw parameters (B, 2 L, h, w), the means first, then the log-scales."""
        mean, log_scale = soft_clamp(widened(parameters)).chunk(2, dim=1)
        scale = log_scale.exp() + 1e-2
        return cls(mean, scale if temperature == 1 else scale * temperature)

    def at(self, noise: Tensor) -> Tensor:
        """Return mean + scale * noise."""
        return torch.addcmul(self.mean, self.scale, noise)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return the log density of each entry."""
        return normal_log_prob(z, self.mean, self.scale)

    def kl(self, other: "Gaussian") -> Tensor:
        """Return KL(self || other) of each entry, in nats."""
        return normal_kl(self.mean, self.scale, other.mean, other.scale)
