r"""A pretrained `diffusers.AutoencoderKL` as a backbone of one layer.

Its latents z have the shape (C, h, w); u = (z - m) / s with the shift and the scale by which diffusion models standardise
them, so that :math:`z = T(u) = m + s u` and :math:`\log |\det dT/du|` is the sum of :math:`\log s`.  The encoder's Gaussian
over z is one over u; its KL to N(0, I) is analytic.  Nothing is learnt here: the weights are those of the folder.
"""

from math import isfinite
from typing import Any, ClassVar, Literal

import torch
from pydantic import PositiveFloat
from torch import Generator, Tensor

from priorkit.core import (
    Backbone,
    DataSpec,
    DiagonalPosterior,
    Layout,
    Likelihood,
    Objective,
    Posterior,
    PosteriorDensity,
    TopDown,
)
from priorkit.errors import UsageError
from priorkit.likelihoods import FixedNormal, normal_kl, normal_log_prob, widened
from priorkit_diffusers.pretrained import Pretrained, PretrainedSettings
from priorkit_diffusers.walk import OneLayerWalk

__all__ = ["AutoencoderKL", "AutoencoderKLSettings"]

CHUNK = 16
"""Number of images encoded together to compute the mean and scale of the latents."""


class AutoencoderKLSettings(PretrainedSettings):
    """A pretrained autoencoder of the library diffusers."""

    KIND: ClassVar[str] = "AutoencoderKL"
    PART: ClassVar[str] = "vae"

    standardise: Literal["config", "data"] = "config"
    """Standardisation of the latents to u. config: with the folder's `scaling_factor` and `shift_factor`, or
    `latents_mean` and `latents_std`, as for a diffusion model trained on the same autoencoder; data: with the mean and
    standard deviation of each channel on the first training images."""
    sigma: PositiveFloat = 0.1
    """Sigma of the Gaussian pixel likelihood around the decoded image, for images in [-1, 1]; a density, which gives no
    bits/dim."""


class AutoencoderKL(Backbone):
    """A pretrained, frozen autoencoder for images (C, H, W) whose sides are multiples of its downsampling factor."""

    Config = AutoencoderKLSettings
    libraries: ClassVar[tuple[str, ...]] = ("diffusers",)
    settings: AutoencoderKLSettings
    shift: Tensor
    """m, (C, 1, 1)."""
    scale: Tensor
    """s, (C, 1, 1)."""

    def __init__(self, settings: AutoencoderKLSettings, spec: DataSpec) -> None:
        super().__init__()
        self.settings, self.spec = settings, spec
        self.autoencoder = Pretrained(settings)
        config = self.autoencoder.net.config
        self.layout = Layout((_latent_shape(config, spec),))
        shift, scale = _standardisation(config) if settings.standardise == "config" else (0.0, 1.0)
        channels = (config.latent_channels, 1, 1)
        self.register_buffer("shift", (torch.zeros(config.latent_channels) + shift).reshape(channels))
        self.register_buffer("scale", (torch.zeros(config.latent_channels) + scale).reshape(channels))

    @torch.no_grad()
    def adapt(self, x: Tensor) -> None:
        """With `standardise=data` fit mean and scale of each channel to the latents of x (N, *spec.shape)."""
        if self.settings.standardise == "config" or self.autoencoder.missing:
            return
        means, deviations = zip(*(self.encoded(part) for part in torch.split(x, CHUNK)), strict=True)
        mean, deviation = torch.cat(means), torch.cat(deviations)
        self.shift.copy_(mean.mean((0, 2, 3))[:, None, None])
        spread = (mean - self.shift).square().mean((0, 2, 3)) + deviation.square().mean((0, 2, 3))
        self.scale.copy_(spread.sqrt()[:, None, None])

    def encoded(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of q(z | x), (B, C, h, w) each, for x (B, *spec.shape) in [0, 1]."""
        latents = self.autoencoder.required().encode(2 * x - 1).latent_dist
        return widened(latents.mean), widened(latents.std)

    def infer(self, x: Tensor, *, generator: Generator | None = None) -> Posterior:
        """Sample q(u | x) for x (B, *spec.shape)."""
        mean, deviation = self._moments(x)
        # Not empty_like: convolutions choose a memory format, and the noise would be filled in its order.
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        u = mean + deviation * noise
        ratio = normal_log_prob(u, mean, deviation) - normal_log_prob(u, torch.zeros_like(u), torch.ones_like(u))
        kl = normal_kl(mean, deviation).flatten(1).sum(1, keepdim=True)
        return Posterior(u.flatten(1), kl, ratio.flatten(1).sum(1), mean.flatten(1), deviation.flatten(1))

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of q(u | x), (B, C, h, w) each."""
        mean, deviation = self.encoded(x)
        return (mean - self.shift) / self.scale, deviation / self.scale

    def posterior_density(self, x: Tensor) -> PosteriorDensity:
        """Return q(u | x) of x (N, *spec.shape) as a function of u."""
        moments = [torch.cat(part) for part in zip(*(self._moments(rows) for rows in torch.split(x, CHUNK)), strict=True)]
        return DiagonalPosterior(*(part.flatten(1) for part in moments))

    def top_down(self, batch: int, *, temperature: float = 1.0) -> TopDown:
        """Return a walk of one step."""
        return OneLayerWalk(self.shift, temperature * self.scale, (batch, *self.layout.shapes[0]), self._likelihood)

    def _likelihood(self, z: Tensor) -> Likelihood:
        return FixedNormal(self.autoencoder.net.decode(z).sample, self.settings.sigma)

    def objectives(self) -> list[Objective]:
        """Return none: the autoencoder is pretrained."""
        return []


def _standardisation(config: Any) -> tuple[Tensor, Tensor]:
    """Return m and s, (C,) or (1,): latents are scaled as in diffusers' pipelines, by (z - latents_mean) scaling_factor /
    latents_std if both are given, else by (z - shift_factor) scaling_factor. Raises UsageError for other values."""
    both = config.latents_mean is not None and config.latents_std is not None
    shift = _numbers(config, "latents_mean") if both else _numbers(config, "shift_factor", absent=0.0)
    spread = _numbers(config, "latents_std", positive=True) if both else torch.ones(1)
    return shift, spread / _numbers(config, "scaling_factor", positive=True)


def _numbers(config: Any, key: str, *, absent: float | None = None, positive: bool = False) -> Tensor:
    """Return one finite number, or one per channel."""
    value = getattr(config, key)
    given = absent if value is None else value
    listed = list(given) if isinstance(given, list | tuple) else [given]
    known = all(isinstance(number, int | float) and isfinite(number) and (number > 0 or not positive) for number in listed)
    if not known or len(listed) not in (1, config.latent_channels):
        wanted = f"a finite number{' above 0' * positive}, or {config.latent_channels} of them"
        raise UsageError(
            f"architecture: the autoencoder's {key} is {value!r:.60}, but must be {wanted}; correct it in "
            "the folder's config.json, or use --set backbone.standardise=data."
        )
    return torch.tensor(listed, dtype=torch.float32)


def _latent_shape(config: Any, spec: DataSpec) -> tuple[int, int, int]:
    """Return (C, h, w) of the latents of data. Raises UsageError if the autoencoder does not accept them."""
    factor = 2 ** (len(config.block_out_channels) - 1)
    fits = spec.is_image and spec.shape[0] == config.in_channels == config.out_channels
    if not fits or any(side % factor for side in spec.shape[1:]):
        raise UsageError(
            f"this autoencoder needs images with {config.in_channels} channels and sides that are "
            f"multiples of {factor}, but {spec.name} has the shape {spec.shape}; choose other data with "
            "--data or another backbone.folder."
        )
    height, width = spec.shape[1:]
    return config.latent_channels, height // factor, width // factor
