r"""The density of u_t given v = u_{t+1}: the energy, and the kernel in closed form.

.. math:: \log p(u_t \mid v) = F(u_t, t) - \tfrac12 |u_t|^2 - r\,\frac{|a u_t - v|^2}{2 \sigma^2} + \text{constant},

with r = 0 at the top level, where v carries no information.  Since a^2 + sigma^2 = 1 the two quadratic terms are one:
|u_t - a v|^2 / (2 sigma^2), with a = 0 and sigma = 1 at the top.  So with F = 0 the conditional is N(a v, sigma^2), and
in the coordinates w = (u_t - a v) / sigma every level is an energy on N(0, I), as the prior itself is in u-space.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from priorkit_diffusion.schedule import Schedule

__all__ = ["Conditional"]


@dataclass(frozen=True)
class Conditional:
    """The conditional densities of a batch; each row has its level."""

    level: Tensor
    """t, (B,) int64."""
    v: Tensor
    """u_{t+1}, (B, D)."""
    a: Tensor
    """Signal kept from u_t to v, 0 at the top level, (B, 1)."""
    sigma: Tensor
    """Noise added, 1 at the top level, (B, 1)."""

    @classmethod
    def of(cls, schedule: Schedule, level: Tensor, v: Tensor) -> "Conditional":
        """Return the conditionals of rows at `level` (B,) below v (B, D)."""
        return cls(level, v, *schedule.conditional(level, v))

    def log_kernel(self, u: Tensor) -> Tensor:
        """Return -|u|^2 / 2 - r |a u - v|^2 / (2 sigma^2) up to a constant, (B, D) -> (B,)."""
        return -0.5 * self.noise(u).square().sum(1)

    def gradient(self, u: Tensor) -> Tensor:
        """Return the gradient of `log_kernel`, (B, D) -> (B, D)."""
        return (self.a * self.v - u) / self.sigma.square()

    def state(self, w: Tensor) -> Tensor:
        """Return u_t = a v + sigma w, (B, D) -> (B, D)."""
        return torch.addcmul(self.a * self.v, self.sigma, w)

    def noise(self, u: Tensor) -> Tensor:
        """Return w, the inverse of `state`, (B, D) -> (B, D)."""
        return (u - self.a * self.v) / self.sigma

    def expanded(self, rows: int) -> "Conditional":
        """Return each row repeated in place until there are `rows`: a sampler may evaluate several proposals per row."""
        if rows == len(self.v):
            return self
        index = torch.arange(len(self.v), device=self.v.device).repeat_interleave(rows // len(self.v))
        return Conditional(self.level[index], self.v[index], self.a[index], self.sigma[index])
