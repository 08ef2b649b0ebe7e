r"""The scales of a variance-preserving diffusion and the formulas that relate adjacent ones.

Levels i = 0 (data) ... K (noise) are times t_0 = 0 < ... < t_K = 999 of the DDPM schedule (1,000 betas from 1e-4 to 0.02).
With :math:`A_i = \sqrt{\bar\alpha_{t_i}}`, :math:`S_i = \sqrt{1 - \bar\alpha_{t_i}}` a level is
:math:`x_i = A_i x_0 + S_i \epsilon`, and the next one is :math:`x_{i+1} = a_{i+1} x_i + b_{i+1} \epsilon'` with
:math:`a_{i+1} = A_{i+1} / A_i`, :math:`b_{i+1}^2 = 1 - a_{i+1}^2` (paper, eq. 1; the beta in eq. 5 must be the kernel's).
"""

from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["Schedule"]

TIMES = 1_000


class Schedule(nn.Module):
    """K + 1 levels.  Level arguments are (B,) int64, points (B, D)."""

    signal: Tensor
    """A_0 ... A_K, (K + 1,)."""
    noise: Tensor
    """S_0 ... S_K, (K + 1,)."""
    carry: Tensor
    """a_1 ... a_K, (K,): entry i leads from level i to i + 1."""
    spread: Tensor
    """b_1 ... b_K, (K,)."""

    def __init__(self, scales: int, spacing: Literal["uniform", "quadratic"] = "uniform") -> None:
        super().__init__()
        self.scales = scales
        share = torch.arange(scales + 1, dtype=torch.float64) / scales
        times = ((TIMES - 1) * (share if spacing == "uniform" else share.square())).round().long()
        if len(set(times.tolist())) < len(times):
            raise ValueError(f"Schedule: {scales} scales do not fit on {TIMES} times with {spacing} spacing")
        kept = torch.cumprod(1 - torch.linspace(1e-4, 0.02, TIMES, dtype=torch.float64), 0)[times]
        carried = kept[1:] / kept[:-1]
        values = {"signal": kept, "noise": 1 - kept, "carry": carried, "spread": 1 - carried}
        self.times = tuple(times.tolist())
        for name, value in values.items():
            self.register_buffer(name, value.sqrt().float(), persistent=False)

    def corrupt(self, x0: Tensor, level: Tensor, noise: Tensor) -> Tensor:
        """Return A_i x_0 + S_i noise."""
        return self.signal[level, None] * x0 + self.noise[level, None] * noise

    def diffuse(self, x: Tensor, level: Tensor, noise: Tensor) -> Tensor:
        """Return x_{i+1} from x_i with new noise."""
        return self.carry[level, None] * x + self.spread[level, None] * noise

    def recovery(self, x: Tensor, above: Tensor, level: Tensor) -> Tensor:
        """Return |a_{i+1} x_i - x_{i+1}|^2 / (2 b_{i+1}^2), the conditional energy's quadratic (paper, eq. 6), (B,)."""
        return (self.diffuse(x, level, torch.zeros_like(x)) - above).square().sum(1) / (2 * self.spread[level].square())

    def clean(self, above: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """Return the x_0 for which x_{i+1} = A_{i+1} x_0 + S_{i+1} noise (paper, eq. 22)."""
        return (above - self.noise[level + 1, None] * noise) / self.signal[level + 1, None]

    def reach(self, level: Tensor) -> Tensor:
        """Return the change of x_i per noise predicted in x_{i+1}: the factor of `noise` in `below`, (B, 1)."""
        ratio = self.signal[level] / self.signal[level + 1]
        return (self.noise[level] - ratio * self.noise[level + 1])[:, None]

    def below(self, above: Tensor, noise: Tensor, level: Tensor) -> Tensor:
        """Return x_i of the same x_0 and the same noise as x_{i+1} (paper, eq. 15 and 22)."""
        return self.corrupt(self.clean(above, noise, level), level, noise)
