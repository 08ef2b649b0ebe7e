"""Networks over u that know which scale of a diffusion they are asked about.

A prior that takes them (`prior.energy.network` of vdrme) finds one by its import string, `module:Class`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from priorkit.core import Layout, Settings

__all__ = ["ScaleNetwork", "ScaleTask"]


@dataclass(frozen=True)
class ScaleTask:
    """What a prior asks a network for."""

    layout: Layout
    """How the layers lie in u (B, D)."""
    times: tuple[int, ...]
    """Of each scale the time of the points that are read, on the grid 0 ... 999 of the DDPM schedule."""
    outputs: int | None
    """Numbers for each row, all 0 at first; None asks for a point (B, D), as a denoiser gives."""
    beside: int = 0
    """Further points (B, D) that are read as columns beside u.  A network that gives points ignores them at first; one that
    gives numbers must not, for its output layer starts at 0 and neither of the two would ever learn."""
    classes: int = 0
    """Number of classes that it is conditioned on; 0 for none."""


class ScaleNetwork(nn.Module, ABC):
    """Built as `cls(settings, task)`."""

    Config: ClassVar[type[Settings]] = Settings

    @abstractmethod
    def forward(self, x: Tensor, level: Tensor, labels: Tensor | None = None, beside: Tensor | None = None) -> Tensor:
        """(B, D) at scales (B,), labels (B,) and (B, beside * D) -> (B, outputs), or (B, D) for a point."""
