r"""NVAE, a deep hierarchical variational auto-encoder of images (Vahdat and Kautz 2020).

Groups i = 0 (top) ... G-1 of latents (L, h, h).  The decoder feature d starts from a learnt constant; before group i it
gives :math:`p(z_i \mid z_{<i})`, then z_i is mixed into it.  The encoder's features and d together give
:math:`q(z_i \mid x, z_{<i})`.
"""

from typing import ClassVar

import torch
from torch import Generator, Tensor

from priorkit.core import DataSpec, Elbo, Objective, Posterior, PosteriorDensity
from priorkit_nvae.convolution import DataInitialisedConv2d
from priorkit_nvae.inference import infer, random_noise
from priorkit_nvae.network import NvaeNetwork
from priorkit_nvae.objective import ElboObjective
from priorkit_nvae.posterior_density import NvaeDensity
from priorkit_nvae.settings import NvaeSettings
from priorkit_nvae.walk import Walk

__all__ = ["NVAE"]


class NVAE(NvaeNetwork):
    """Images (B, C, H, H) in [0, 1].  Images of side 28 are zero-padded to 32; the likelihood counts the centre only."""

    Config: ClassVar[type[NvaeSettings]] = NvaeSettings

    def __init__(self, settings: NvaeSettings, spec: DataSpec) -> None:
        super().__init__(settings.for_data(spec), spec)
        self._elbo = ElboObjective(self)

    def top_down(self, batch: int, *, temperature: float = 1.0) -> Walk:
        """Start a walk; the context's features are the decoder's feature d."""
        return Walk(self, batch, temperature)

    def infer(self, x: Tensor, *, generator: Generator | None = None) -> Posterior:
        """Return a sample of q(u | x); with flows the KL is that sample's Monte Carlo estimate."""
        seen = self.observe(x, generator=generator)
        result = infer(self, self.padded(seen), random_noise(generator))
        moments = [self.layout.join(part) for part in result.moments()] if not self.settings.num_nf else [None, None]
        ratio = (result.log_q() - result.log_p()).sum(1)
        return Posterior(self.layout.join(result.noise()), result.kl(), ratio, *moments)

    def posterior_density(self, x: Tensor) -> PosteriorDensity | None:
        """Return q(u | x) of observed x (N, C, H, H) as a function of u; None with flows, whose inverse is not known."""
        return None if self.settings.num_nf else NvaeDensity(self, self.padded(x))

    def elbo(self, x: Tensor, *, generator: Generator | None = None) -> Elbo:
        """Return a one-sample bound on log p of the observed x (B, C, H, H), in one walk."""
        seen = self.observe(x, generator=generator)
        result = infer(self, self.padded(seen), random_noise(generator))
        return Elbo.of(result.walk.decode(), seen, result.kl())

    def adapt(self, x: Tensor) -> None:
        """Initialise `res_elu` cells from data; other cells are unchanged."""
        layers = [module for module in self.modules() if isinstance(module, DataInitialisedConv2d)]
        if not layers:
            return
        for layer in layers:
            layer.pending = True
        with torch.no_grad():
            self.elbo(x, generator=torch.Generator(device=x.device).manual_seed(0))

    def objectives(self) -> list[Objective]:
        """Return the negative evidence lower bound with warm-up, balancing and the norm regularisers."""
        return [Objective("elbo", list(self.parameters()), self._elbo.optimiser(), self._elbo, buffers=self._elbo.buffers())]
