r"""Gaussian pixels, as a density.

Images x in [0, 1] are seen as y = 2x - 1; the density is over y, so metrics are neither bits nor comparable with those of
a discrete likelihood.
"""

import math
from typing import Literal

import torch
from torch import Generator, Tensor
from torch.distributions.utils import broadcast_all

from priorkit.core import Likelihood
from priorkit.likelihoods.decoder_output import crop_note, cropped, widened
from priorkit.likelihoods.gaussian import HALF_LOG_TAU, normal_log_prob

__all__ = ["FixedNormal", "Normal", "soft_clamp"]


def soft_clamp(values: Tensor) -> Tensor:
    """5 tanh(values / 5): the identity near 0, bounded by 5 (NVAE's clamp of means and log-scales)."""
    return 5 * torch.tanh(values / 5)


class FixedNormal(Likelihood):
    """N(mean, sigma^2) for each entry.  With `units="image"` mean and sigma are in the [-1, 1] units of y = 2x - 1; with
    `units="data"` x is taken as it is (points).  mean (B, *shape), or larger by `crop` on each side; sigma broadcasts."""

    discrete = False

    def __init__(
        self, mean: Tensor, sigma: Tensor | float, *, crop: int = 0, units: Literal["image", "data"] = "image"
    ) -> None:
        self.sigma = None if isinstance(sigma, Tensor) else sigma
        if isinstance(sigma, Tensor):
            location, scale = broadcast_all(widened(mean), widened(sigma))
            self.location, self.scale = cropped(location, crop), cropped(scale, crop)
        else:
            self.location = cropped(widened(mean), crop)
            self.scale = self.location.new_full((), sigma).expand_as(self.location)
        self.image = units == "image"
        space = "density of 2x - 1" if self.image else "density of x"
        self.protocol = f"{space} under independent Gaussians, no bins{crop_note(crop)}"

    def _image(self, y: Tensor) -> Tensor:
        return 0.5 * y.clamp(-1, 1) + 0.5 if self.image else y

    @property
    def mean(self) -> Tensor:
        """(B, *shape); images are clamped to [0, 1]."""
        return self._image(self.location)

    def entry_log_prob(self, x: Tensor) -> Tensor:
        """The log-density of each entry, (B, *shape)."""
        return normal_log_prob(self._seen(x), self.location, self.scale)

    def log_prob(self, x: Tensor) -> Tensor:
        """(B, *shape) -> (B,), nats of a density."""
        if self.sigma is None:
            return self.entry_log_prob(x).flatten(1).sum(1)
        # With one sigma the constants are added once, not at every pixel: chains ask for this at every step.
        distance = (self._seen(x) - self.location).flatten(1)
        constant = distance.shape[1] * (math.log(self.sigma) + HALF_LOG_TAU)
        return distance.square().sum(1) * (-0.5 / self.sigma**2) - constant

    def _seen(self, x: Tensor) -> Tensor:
        return 2 * x - 1 if self.image else x

    def sample(self, generator: Generator | None = None) -> Tensor:
        """(B, *shape); images are clamped to [0, 1]."""
        scale = self.scale
        return self.sample_with(torch.randn(scale.shape, generator=generator, dtype=scale.dtype, device=scale.device))

    def sample_with(self, noise: Tensor) -> Tensor:
        """The draw that standard-normal noise (B, *shape) gives."""
        return self._image(self.location + self.scale * noise)


class Normal(FixedNormal):
    """NVAE's Gaussian pixels: logits (B, 2C, H, W) hold C means and C log-scales, both softly clamped;
    sigma = exp(log-scale) + 0.01, in [-1, 1] units.  `crop` cuts a padded border off."""

    def __init__(self, logits: Tensor, *, crop: int = 0) -> None:
        means, log_scales = soft_clamp(widened(logits)).chunk(2, dim=1)
        super().__init__(means, log_scales.exp() + 1e-2, crop=crop)
