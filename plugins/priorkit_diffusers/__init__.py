"""Pretrained models of the library diffusers: autoencoders as backbones, U-Nets and DiTs as networks of priors."""

from priorkit_diffusers.autoencoder import AutoencoderKL, AutoencoderKLSettings
from priorkit_diffusers.networks import DiT, DiTSettings, UNet2D, UNet2DSettings
from priorkit_diffusers.pixels import Pixels

__all__ = ["AutoencoderKL", "AutoencoderKLSettings", "DiT", "DiTSettings", "Pixels", "UNet2D", "UNet2DSettings"]
