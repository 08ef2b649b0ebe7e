"""The modules of an NVAE, its preprocessing of pixels and its pixel likelihood.

The names of the parameters are those of the published checkpoints.
"""

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from priorkit.core import Backbone, DataSpec, Likelihood
from priorkit.errors import UsageError
from priorkit.likelihoods import Bernoulli, LogisticMixture, Normal, mixture_channels
from priorkit_nvae.cells import CellFactory
from priorkit_nvae.convolution import WeightNormConv2d
from priorkit_nvae.flows import FlowPair
from priorkit_nvae.geometry import Geometry
from priorkit_nvae.settings import NvaeSettings
from priorkit_nvae.towers import decoder_tower, encoder_tower, postprocessing, preprocessing

__all__ = ["NvaeNetwork"]


class NvaeNetwork(Backbone):
    """The encoder, the decoder and their sizes, without the passes through them."""

    settings: NvaeSettings

    def __init__(self, settings: NvaeSettings, spec: DataSpec) -> None:
        super().__init__()
        self.settings, self.spec = settings, spec
        self.geometry = Geometry.of(settings, spec)
        self.layout = self.geometry.layout
        self._build_encoder()
        self._build_decoder()

    def _build_encoder(self) -> None:
        settings, geometry = self.settings, self.geometry
        cell = CellFactory(settings.arch_instance, use_se=settings.use_se, recompute=settings.recompute_cells)
        width, latents = settings.num_channels_enc, geometry.latent_channels
        top = width * geometry.multiplier(len(geometry.groups) - 1)
        self.stem = WeightNormConv2d(geometry.channels, width, 3)
        self.pre_process = preprocessing(settings, cell)
        self.enc_tower = nn.ModuleList() if geometry.vanilla else encoder_tower(settings, geometry, cell)
        self.enc0 = nn.Sequential(nn.ELU(), WeightNormConv2d(top, top, 1), nn.ELU())
        self.enc_sampler = nn.ModuleList(
            WeightNormConv2d(width * geometry.multiplier(scale), 2 * latents, 3) for scale in geometry.scales
        )
        self.nf_cells = nn.ModuleList(FlowPair(latents) for _ in range(settings.num_nf * len(geometry.scales)))

    def _build_decoder(self) -> None:
        settings, geometry = self.settings, self.geometry
        cell = CellFactory(settings.arch_instance, use_se=settings.use_se, recompute=settings.recompute_cells)
        width, latents = settings.num_channels_dec, geometry.latent_channels
        last = len(geometry.groups) - 1
        side = geometry.latent_side(last)
        self.prior_ftr0 = nn.Parameter(torch.rand(width * geometry.multiplier(last), side, side))
        self.dec_sampler = nn.ModuleList(
            nn.Sequential(nn.ELU(), WeightNormConv2d(width * geometry.multiplier(scale), 2 * latents, 1))
            for scale in geometry.scales[1:]
        )
        self.dec_tower = nn.ModuleList() if geometry.vanilla else decoder_tower(settings, geometry, cell)
        if geometry.vanilla:
            self.stem_decoder = WeightNormConv2d(latents, width * geometry.multiplier(0), 1)
        self.post_process = postprocessing(settings, cell)
        self.image_conditional = nn.Sequential(nn.ELU(), WeightNormConv2d(width, self._logit_channels(), 3))

    def _logit_channels(self) -> int:
        channels = self.geometry.channels
        if self.settings.decoder == "logistic":
            return mixture_channels(channels, self.settings.num_mixture_dec)
        return channels if self.settings.decoder == "bernoulli" else 2 * channels

    @property
    def levels(self) -> int:
        """The number of grey levels of the model's input."""
        return int(2**self.settings.num_x_bits) if self.settings.num_x_bits != 8 else self.spec.levels or 256

    def observe(self, x: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Return images x (B, C, H, H) as the model's input: reduced to `num_x_bits`, or binarised by a random draw with the
        Bernoulli decoder (new in every call, as is usual for MNIST)."""
        if tuple(x.shape[1:]) != self.spec.shape:
            raise UsageError(f"nvae: expected images of shape {self.spec.shape}, got {tuple(x.shape[1:])}.")
        if self.settings.decoder == "bernoulli":
            return x if self.spec.levels == 2 else torch.bernoulli(x.clamp(0, 1), generator=generator)
        if self.settings.num_x_bits != 8:
            return torch.floor((255 * x).round() / 2 ** (8 - self.settings.num_x_bits)) / (self.levels - 1)
        if self.settings.decoder == "logistic" and self.spec.levels is None:
            return (255 * x).round() / 255
        return x

    def padded(self, x: Tensor) -> Tensor:
        """Return x (B, C, H, H) with its zero border, (B, C, R, R)."""
        return F.pad(x, [self.geometry.border] * 4) if self.geometry.border else x

    def likelihood(self, logits: Tensor) -> Likelihood:
        """Return p(x | z) for the pixel decoder's parameters (B, C_out, R, R)."""
        crop = self.geometry.border
        match self.settings.decoder:
            case "bernoulli":
                return Bernoulli(logits, crop=crop)
            case "normal":
                return Normal(logits, crop=crop)
            case "logistic":
                edges = self.settings.mixture_edges
                return LogisticMixture(logits, channels=self.geometry.channels, levels=self.levels, crop=crop, edges=edges)
