r"""Data as latents: :math:`x = m + c\,u` with a shift m for each coordinate and one scale c.

Under this backbone a prior is a density model of the data, :math:`\log p(x) = \log p(u) - D \log c`.  There is one
layer, and both q(u | x) and p(x | u) are point masses, so KL, ELBO and p(x | z) are not defined.
"""

import torch
from torch import Generator, Tensor

from priorkit.core import Backbone, Context, DataSpec, Layout, Likelihood, Objective, Posterior, Settings, TopDown
from priorkit.likelihoods import WithoutDensity

__all__ = ["IdentityBackbone", "IdentitySettings", "PointMass"]


class IdentitySettings(Settings):
    """The data themselves as latents."""

    standardise: bool = True
    """Shift each coordinate to mean 0 and divide by one scale, the root mean square of the standard deviations of all
    coordinates."""


class PointMass(WithoutDensity):
    """A point mass at the data that u represents, (B, *data shape)."""

    protocol = "point mass: no density"
    reason = (
        "log p(x | z) is not defined for the identity backbone: its latents are the data themselves. Use the prior's "
        "density of u, or choose a backbone with a decoder."
    )


class IdentityBackbone(Backbone):
    """u = (x - shift) / scale, one layer: (d,) for points, (C, H, W) for images. Nothing is trained by gradients."""

    Config = IdentitySettings
    settings: IdentitySettings
    shift: Tensor
    scale: Tensor

    def __init__(self, settings: IdentitySettings, spec: DataSpec) -> None:
        super().__init__()
        self.settings, self.spec = settings, spec
        self.layout = Layout((spec.shape,))
        self.register_buffer("shift", torch.zeros(spec.shape))
        self.register_buffer("scale", torch.ones(()))

    def adapt(self, x: Tensor) -> None:
        """Fit shift and scale to data (N, *spec.shape); for constant data the scale is 1."""
        if not self.settings.standardise:
            return
        shift = x.mean(0)
        scale = (x - shift).square().mean().sqrt()
        self.shift.copy_(shift)
        self.scale.copy_(torch.where(scale > 0, scale, torch.ones_like(scale)))

    @property
    def log_volume(self) -> Tensor:
        """Return D log scale, (): log p(x) = log p(u) - log_volume."""
        return self.layout.dim * self.scale.log()

    def infer(self, x: Tensor, *, generator: Generator | None = None) -> Posterior:
        """Return the point u of each x (B, *spec.shape); KL and log ratio are None."""
        return Posterior(((x - self.shift) / self.scale).flatten(1), None, None)

    def top_down(self, batch: int, *, temperature: float = 1.0) -> TopDown:
        """Return a walk of one step."""
        return _Walk(self, batch, temperature)

    def objectives(self) -> list[Objective]:
        """Return none: nothing is trained."""
        return []

    @property
    def device(self) -> torch.device:
        """The device of the buffers."""
        return self.shift.device


class _Walk(TopDown):
    def __init__(self, backbone: IdentityBackbone, batch: int, temperature: float) -> None:
        self._backbone = backbone
        self._shape = (batch, *backbone.spec.shape)
        self._temperature = temperature
        self._z: Tensor | None = None

    def context(self) -> Context:
        zeros = self._backbone.shift.new_zeros(self._shape)
        return Context(zeros, torch.full_like(zeros, self._temperature), None)

    def take(self, z: Tensor) -> None:
        self._z = z

    def decode(self) -> Likelihood:
        if self._z is None:
            raise ValueError("IdentityBackbone: decode() before the layer was taken")
        return PointMass(self._backbone.shift + self._backbone.scale * self._z)
