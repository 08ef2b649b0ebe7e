r"""The waymarks: :math:`u_k = a_k u + s_k \epsilon` with a_k^2 + s_k^2 = 1, from the data, a_0 = 1, to the noise, a_K = 0.

The mixtures preserve the variance, so that data of mean 0 and covariance I have it at every waymark.  All waymarks of a
point share u and epsilon (Rhodes, Xu, Gutmann 2020, section 3.1).
"""

from dataclasses import dataclass
from functools import cached_property
from math import pi
from typing import Literal

import torch
from torch import Tensor

from priorkit.runtime.on_device import OnDevice

__all__ = ["Waymarks"]


@dataclass(frozen=True)
class Waymarks:
    """K + 1 waymarks, so K bridges."""

    signal: Tensor
    """a_k, (K + 1,), float64."""
    noise: Tensor
    """s_k, (K + 1,), float64."""

    @classmethod
    def of(cls, bridges: int, spacing: Literal["angle", "noise"] = "angle", power: float = 1.0) -> "Waymarks":
        """Return the waymarks of K >= 1 bridges; `spacing` and `power` as in the settings."""
        t = torch.linspace(0, 1, bridges + 1, dtype=torch.float64).pow(power)
        noise = torch.sin(t * (pi / 2)) if spacing == "angle" else t
        signal = (1 - noise.square()).sqrt()
        return cls(signal, noise)

    @cached_property
    def _on_device(self) -> tuple[OnDevice, OnDevice]:
        return OnDevice(self.signal), OnDevice(self.noise)

    @property
    def bridges(self) -> int:
        """K."""
        return len(self.signal) - 1

    def every(self, u: Tensor, noise: Tensor) -> Tensor:
        """Return all waymarks of data u (B, D) with noise (B, D), (K + 1, B, D)."""
        signal, share = (values(u)[:, None, None] for values in self._on_device)
        return signal * u + share * noise

    def at(self, k: int, u: Tensor, noise: Tensor) -> Tensor:
        """Return waymark k of data u (B, d) with noise (B, d), (B, d)."""
        return float(self.signal[k]) * u + float(self.noise[k]) * noise
