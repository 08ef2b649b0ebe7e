"""Images as pixel-space diffusion models read them: u = 2x - 1; a pretrained one can be the network of a prior."""

import torch
from torch import Generator, Tensor

from priorkit.core import Backbone, DataSpec, Layout, Objective, Posterior, Settings, TopDown
from priorkit.errors import UsageError
from priorkit.likelihoods import WithoutDensity
from priorkit_diffusers.walk import OneLayerWalk

__all__ = ["Pixels"]


class PixelsSettings(Settings):
    """Images in [-1, 1] as latents; no options."""


class Place(WithoutDensity):
    """A point mass at the image that u represents; images are clamped to [0, 1]."""

    protocol = "point mass: no density"
    reason = "log p(x | z) is not defined for the pixels backbone: its latents are the images themselves."

    def __init__(self, z: Tensor) -> None:
        super().__init__((0.5 * z + 0.5).clamp(0, 1))


class Pixels(Backbone):
    """u = 2x - 1, one layer (C, H, W), without decoder; for networks that were trained on images in [-1, 1]."""

    Config = PixelsSettings
    settings: PixelsSettings
    unit: Tensor

    def __init__(self, settings: PixelsSettings, spec: DataSpec) -> None:
        super().__init__()
        if not spec.is_image:
            raise UsageError(f"the pixels backbone needs images, but {spec.name} has points; use --backbone identity.")
        self.settings, self.spec = settings, spec
        self.layout = Layout((spec.shape,))
        self.register_buffer("unit", torch.ones(()))

    def infer(self, x: Tensor, *, generator: Generator | None = None) -> Posterior:
        """Return the point u of each x (B, C, H, W); KL and log ratio are None."""
        return Posterior((2 * x - 1).flatten(1), None, None)

    def top_down(self, batch: int, *, temperature: float = 1.0) -> TopDown:
        """Return a walk of one step."""
        return OneLayerWalk(0 * self.unit, temperature * self.unit, (batch, *self.spec.shape), Place)

    def objectives(self) -> list[Objective]:
        """Return none: nothing is trained."""
        return []

    @property
    def device(self) -> torch.device:
        """The device of the buffer."""
        return self.unit.device
