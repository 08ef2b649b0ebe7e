r"""The noise levels of the diffusion, :math:`u_{t+1} = a_{t+1} u_t + \sigma_{t+1} \epsilon` with a^2 + sigma^2 = 1.

They are selected from 1,000 small steps with beta from 1e-4 to 0.02: level 0 ends at index 0, level T at index 999, and
those between are evenly spaced over the first half (released code of the diffusion paper, whose text gives no numbers).
Even level 0 is not clean: it is the data with noise of standard deviation S_0 = 0.01.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Generator, Tensor

from priorkit.runtime.on_device import OnDevice

__all__ = ["Schedule", "at_level"]


@dataclass(frozen=True)
class Schedule:
    """T + 1 levels; all tensors are float64, (T + 1,), indexed by the level t = 0 ... T."""

    index: tuple[int, ...]
    """The small step at which each level ends."""
    a: Tensor
    """Signal kept by the step that leads to the level."""
    sigma: Tensor
    """Noise added by that step."""
    signal: Tensor
    """A_t, the signal kept since the data."""
    noise: Tensor
    """S_t, the total noise of the level."""

    @classmethod
    def of(cls, levels: int) -> "Schedule":
        """Return the schedule of T >= 1 levels above the data's; for T = 1, which the released code does not support, 0 and
        999."""
        if levels < 1:
            raise ValueError(f"Schedule: expected at least 1 level, got {levels}")
        stride = 1000 // (2 * (levels - 1)) if levels > 1 else 0
        index = (*(k * stride for k in range(levels)), 999)
        beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
        signal = (1 - beta).sqrt().cumprod(0)[list(index)]
        a = signal / torch.cat([signal.new_ones(1), signal[:-1]])
        return cls(index, a, (1 - a.square()).sqrt(), signal, (1 - signal.square()).sqrt())

    @property
    def levels(self) -> int:
        """The number of levels T."""
        return len(self.index) - 1

    def step_sizes(self, base: float) -> Tensor:
        """Return the released code's Langevin steps s_t = b (S_t / S_0) sigma_{t+1}^2 of the levels 0 ... T - 1, (T,)."""
        return base * self.noise[:-1] / self.noise[0] * self.sigma[1:].square()

    def noised(self, u: Tensor, level: Tensor, generator: Generator | None) -> Tensor:
        """Return u_t of data u (B, D) at levels t (B,): (B, D)."""
        return _mixed(self._totals, u, level, generator)

    def above(self, u: Tensor, level: Tensor, generator: Generator | None) -> Tensor:
        """Return u_{t+1} of states u_t (B, D) at levels t (B,): (B, D)."""
        return _mixed(self._steps, u, level + 1, generator)

    def conditional(self, level: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the steps above the levels (B,) keep and add, (B, 1) each, where `like` is; 0 and 1 at the top, where
        nothing is kept."""
        kept, added = (values(like)[level][:, None] for values in self._conditionals)
        return kept, added

    @cached_property
    def _totals(self) -> tuple[OnDevice, OnDevice]:
        return OnDevice(self.signal), OnDevice(self.noise)

    @cached_property
    def _steps(self) -> tuple[OnDevice, OnDevice]:
        return OnDevice(self.a), OnDevice(self.sigma)

    @cached_property
    def _conditionals(self) -> tuple[OnDevice, OnDevice]:
        a, sigma = self.a[1:].clone(), self.sigma[1:].clone()
        a[-1], sigma[-1] = 0, 1
        return OnDevice(a), OnDevice(sigma)


def at_level(u: Tensor, t: int) -> Tensor:
    """Return level t for each row of u, (B,)."""
    return torch.full((len(u),), t, dtype=torch.int64, device=u.device)


def _mixed(factors: tuple[OnDevice, OnDevice], u: Tensor, level: Tensor, generator: Generator | None) -> Tensor:
    """Return k_t u + n_t e with the factors k and n."""
    kept, added = (values(u)[level][:, None] for values in factors)
    return torch.addcmul(kept * u, added, torch.empty_like(u).normal_(generator=generator))
