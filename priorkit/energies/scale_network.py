"""Networks of u and a scale of a diffusion.

A prior that uses them (`prior.energy.network` of vdrme) finds one by its import string, `module:Class`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from priorkit.core import Layout, Settings

__all__ = ["ScaleNetwork", "ScaleTask"]


@dataclass(frozen=True)
class ScaleTask:
    """What a prior requires of a network."""

    layout: Layout
    """How the layers are arranged in u (B, D)."""
    times: tuple[int, ...]
    """For each scale the time of the points that are read, on the grid 0 ... 999 of the DDPM schedule."""
    outputs: int | None
    """Number of outputs per row, all initially 0; None requires a point (B, D), as a denoiser returns."""
    beside: int = 0
    """Number of additional points (B, D) that are read as columns besides u. A network that returns points ignores them
    initially; one that returns numbers must not, since its output layer starts at 0 and neither of the two would ever be
    trained."""
    classes: int = 0
    """Number of classes that it is conditioned on; 0 for none."""


class ScaleNetwork(nn.Module, ABC):
    """Built as `cls(settings, task)`."""

    Config: ClassVar[type[Settings]] = Settings

    @abstractmethod
    def forward(self, x: Tensor, level: Tensor, labels: Tensor | None = None, beside: Tensor | None = None) -> Tensor:
        """Map (B, D) at scales (B,), labels (B,) and (B, beside * D) -> (B, outputs), or (B, D) for a point."""
