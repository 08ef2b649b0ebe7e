"""A frozen NVAE as the released codes call it: the whole decoder, image head included, for the latents of its layers."""

from dataclasses import dataclass

import torch
from priorkit_nvae import NVAE
from priorkit_nvae.folding import unfolded
from priorkit_nvae.gaussian import Gaussian
from priorkit_nvae.inference import infer, random_noise
from priorkit_nvae.towers import DecoderCombiner
from torch import Generator, Tensor

from priorkit.core import Likelihood

__all__ = ["PlainGenerator", "Walked"]


@dataclass(frozen=True)
class Walked:
    """What u becomes."""

    z: list[Tensor]
    """(B, *shape_i) of each layer, top first."""
    scale: list[Tensor]
    """sigma_i, as z."""
    pixels: Tensor
    """The pixel decoder's parameters, (B, C_out, R, R); without the image head its features."""


class PlainGenerator:
    """Decoder and encoder of a frozen network."""

    def __init__(self, network: NVAE, *, image_head: bool = True) -> None:
        """The released diffusion code leaves the image head out; that of JointEBM does not."""
        self.network = network.eval().requires_grad_(False)
        self.image_head = image_head
        self.layout = network.layout

    def walk(self, u: Tensor) -> Walked:
        """z = T(u) and the pixels' parameters, u (B, D)."""
        with unfolded():
            return self._walk(u)

    def _walk(self, u: Tensor) -> Walked:
        network = self.network
        parts = self.layout.split(u)
        channels, *sides = self.layout.shapes[0]
        priors = [Gaussian.of(u.new_zeros(len(u), 2 * channels, *sides))]
        z = [priors[0].at(parts[0])]
        feature = network.prior_ftr0.expand(len(u), -1, -1, -1)
        taken = 0
        for entry in network.dec_tower:
            if not isinstance(entry, DecoderCombiner):
                feature = entry(feature)
                continue
            if taken > 0:
                priors.append(Gaussian.of(network.dec_sampler[taken - 1](feature)))
                z.append(priors[-1].at(parts[taken]))
            feature = entry(feature, z[-1])
            taken += 1
        for cell in network.post_process:
            feature = cell(feature)
        pixels = network.image_conditional(feature) if self.image_head else feature
        return Walked(z, [prior.scale for prior in priors], pixels)

    @torch.no_grad()
    def likelihood(self, u: Tensor) -> Likelihood:
        """p(x | T(u))."""
        pixels = self.walk(u).pixels
        return self.network.likelihood(pixels if self.image_head else self.network.image_conditional(pixels))

    @torch.no_grad()
    def encode(self, images: Tensor, generator: Generator | None) -> tuple[Tensor, list[Tensor]]:
        """One posterior sample of each image (B, C, H, H): its noise u (B, D) and z of each layer."""
        seen = self.network.padded(self.network.observe(images))
        with unfolded():
            found = infer(self.network, seen, random_noise(generator))
        return self.layout.join(found.noise()), found.z
