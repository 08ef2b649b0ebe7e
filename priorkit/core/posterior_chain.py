r"""Posterior samples without an inference network: a Markov chain on

.. math:: \log p(u \mid x) = \log p(x \mid T(u)) + \log r(u) - |u|^2 / 2 + \text{const},

from u ~ N(0, I), by Langevin steps :math:`u \leftarrow u + \frac{s}{2} \nabla \log p(u \mid x) + \sqrt{s}\,\epsilon`.
The Jacobian of T is not included: this is the density of u, not of z (multi-stage paper, eq. 16, which counts the
Gaussian twice and leaves out the ratios).

Unadjusted, the chain is biased; adjusted, the posterior is the exact stationary distribution
(`priorkit.mcmc.langevin`).

In z-space the same chain runs on the density of z, :math:`\log p_u(T^{-1}(z)) - \log |\det \partial T|`, from z ~ N(0, I)
in every layer, as in the released code; this is slow if the scales of the layers differ.

Each evaluation walks the hierarchy once: the decoder and an energy that reads z take z from the same walk.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Generator, Tensor

from priorkit.core.backbone import Backbone, TopDown
from priorkit.core.freezing import frozen
from priorkit.core.known_latents import latents_known
from priorkit.core.likelihood import Likelihood
from priorkit.core.prior import Prior
from priorkit.core.settings import Settings
from priorkit.mcmc.density import LogProb
from priorkit.mcmc.langevin import adjusted_langevin_chain, langevin_chain
from priorkit.mcmc.tilted_normal import TiltedNormal

__all__ = ["PosteriorChain", "PosteriorChainSettings", "density_of_z", "invert", "invert_and_decode", "sharing_latents"]


class PosteriorChainSettings(Settings):
    """The Markov chain on the posterior; the observation noise is that of the backbone's likelihood."""

    steps: PositiveInt = 40
    """Steps per chain (40 in the papers)."""
    step_size: PositiveFloat = 0.01
    """Step size s: a step moves by s/2 times the gradient and sqrt(s) times noise. The papers' 0.1 is sqrt(s)."""
    adjusted: bool = False
    """Accept or reject each step (MALA), so that the posterior is the exact stationary distribution."""


class PosteriorChain:
    """Sampler of p(u | x) for a backbone and a prior on it."""

    def __init__(self, settings: PosteriorChainSettings, space: Literal["u", "z"] = "u") -> None:
        self.settings = settings
        self.space = space

    def run(self, backbone: Backbone, prior: Prior | None, x: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Return one sample per observed x (B, *spec.shape): u (B, D), or z (B, D) for a chain in z-space; detached.

        With `prior` None, the Gaussian prior is used. Both are frozen and in evaluation mode while the chain runs.
        """
        own = self.settings
        log_prior = TiltedNormal(_no_ratio) if prior is None else prior.density()
        log_prob: LogProb = partial(_log_joint_of_z, backbone, prior, log_prior, x)
        if self.space == "u":
            log_prob = TiltedNormal(partial(_log_tilt, backbone, prior, log_prior, x))
        start = torch.randn(len(x), backbone.layout.dim, generator=generator, dtype=x.dtype, device=x.device)
        with frozen(*[backbone] if prior is None else [backbone, prior]):
            if own.adjusted:
                size = start.new_tensor(own.step_size)
                return adjusted_langevin_chain(log_prob, start, steps=own.steps, size=size, generator=generator)[0]
            return langevin_chain(log_prob, start, steps=own.steps, size=own.step_size, generator=generator)

    def infer(self, backbone: Backbone, prior: Prior | None, x: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Return the same sample as u (B, D), for a chain in either space, for data x (B, *spec.shape)."""
        sample = self.run(backbone, prior, backbone.observe(x, generator=generator), generator=generator)
        with torch.no_grad():
            return backbone.noise(sample) if self.space == "z" else sample


def _log_tilt(backbone: Backbone, prior: Prior | None, log_prior: TiltedNormal, x: Tensor, u: Tensor) -> Tensor:
    """log p(x | T(u)) + log r(u), (B, D) -> (B,)."""
    if prior is None or prior.energy_input == "u":
        return backbone.generate(u).likelihood.log_prob(x) + log_prior.log_ratio(u)
    generation = backbone.generate(u)
    with latents_known(u, backbone.layout.join(generation.z)):
        return generation.likelihood.log_prob(x) + log_prior.log_ratio(u)


def _log_joint_of_z(backbone: Backbone, prior: Prior | None, log_prior: TiltedNormal, x: Tensor, z: Tensor) -> Tensor:
    """log p(x | z) + log p(z), (B, D) -> (B,)."""
    u, log_volume, likelihood = invert_and_decode(backbone, z)
    with sharing_latents(prior, u, z):
        return likelihood.log_prob(x) + log_prior(u) - log_volume


def _no_ratio(u: Tensor) -> Tensor:
    return u.new_zeros(len(u))


def sharing_latents(prior: Prior | None, u: Tensor, z: Tensor) -> AbstractContextManager[None]:
    """Return a block in which the prior takes z = T(u) (B, D), if it reads z, from here instead of a walk of its own."""
    return nullcontext() if prior is None or prior.energy_input == "u" else latents_known(u, z)


def invert(backbone: Backbone, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return u = T^{-1}(z), (B, D), and log |det dT/du| at u, the sum of all log scales, (B,)."""
    return _inverted(backbone, z, backbone.top_down(len(z)), whole=False)


def invert_and_decode(backbone: Backbone, z: Tensor) -> tuple[Tensor, Tensor, Likelihood]:
    """Return the same and p(x | z), in one walk."""
    walk = backbone.top_down(len(z))
    u, log_volume = _inverted(backbone, z, walk, whole=True)
    return u, log_volume, walk.decode()


def _inverted(backbone: Backbone, z: Tensor, walk: TopDown, *, whole: bool) -> tuple[Tensor, Tensor]:
    """Return u and the log volume, with the walk taken to its last context, or, if `whole`, to the decoder."""
    parts, log_volume = [], z.new_zeros(len(z))
    for i, part in enumerate(backbone.layout.split(z)):
        context = walk.context()
        parts.append(context.noise(part))
        if not context.standard:
            log_volume = log_volume + context.scale.log().flatten(1).sum(1)
        if whole or i + 1 < len(backbone.layout):
            walk.take(part)
    return backbone.layout.join(parts), log_volume


def density_of_z(backbone: Backbone, log_prob: LogProb) -> LogProb:
    """Return the log density of z = T(u), (B, D) -> (B,), if u has the log density `log_prob`, which may read z."""

    def changed(z: Tensor) -> Tensor:
        u, log_volume = invert(backbone, z)
        with latents_known(u, z):
            return log_prob(u) - log_volume

    return changed
