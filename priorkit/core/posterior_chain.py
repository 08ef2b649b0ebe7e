r"""Posterior samples without an inference network: a Markov chain on

.. math:: \log p(u \mid x) = \log p(x \mid T(u)) + \log r(u) - |u|^2 / 2 + \text{const},

from u ~ N(0, I), by Langevin steps :math:`u \leftarrow u + \frac{s}{2} \nabla \log p(u \mid x) + \sqrt{s}\,\epsilon`.
The Jacobian of T is not included: this is the density of u, not of z (multi-stage paper, eq. 16, which counts the
Gaussian twice and leaves out the ratios).

Unadjusted, the chain is biased; adjusted, the posterior is the exact stationary distribution
(`priorkit.mcmc.langevin`).

In z-space the same chain runs on the density of z, :math:`\log p_u(T^{-1}(z)) - \log |\det \partial T|`, from z ~ N(0, I)
in every layer, as in the released code; this is slow if the scales of the layers differ.
"""

from functools import partial
from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Generator, Tensor

from priorkit.core.backbone import Backbone
from priorkit.core.freezing import frozen
from priorkit.core.prior import Prior
from priorkit.core.settings import Settings
from priorkit.mcmc.density import LogProb
from priorkit.mcmc.langevin import adjusted_langevin_chain, langevin_chain
from priorkit.mcmc.log_normal import log_normal

__all__ = ["PosteriorChain", "PosteriorChainSettings", "density_of_z", "invert"]


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
        log_prob: LogProb = partial(_log_joint, backbone, prior, x)
        log_prob = density_of_z(backbone, log_prob) if self.space == "z" else log_prob
        start = torch.randn(len(x), backbone.layout.dim, generator=generator, dtype=x.dtype, device=x.device)
        with frozen(*[backbone] if prior is None else [backbone, prior]):
            if own.adjusted:
                size = start.new_full((), own.step_size)
                return adjusted_langevin_chain(log_prob, start, steps=own.steps, size=size, generator=generator)[0]
            return langevin_chain(log_prob, start, steps=own.steps, size=own.step_size, generator=generator)

    def infer(self, backbone: Backbone, prior: Prior | None, x: Tensor, *, generator: Generator | None = None) -> Tensor:
        """Return the same sample as u (B, D), for a chain in either space, for data x (B, *spec.shape)."""
        sample = self.run(backbone, prior, backbone.observe(x, generator=generator), generator=generator)
        with torch.no_grad():
            return backbone.noise(sample) if self.space == "z" else sample


def _log_joint(backbone: Backbone, prior: Prior | None, x: Tensor, u: Tensor) -> Tensor:
    """log p(x | T(u)) + log r(u) - |u|^2 / 2, (B, D) -> (B,)."""
    log_prior = log_normal(u) if prior is None else prior.log_prob(u)
    return backbone.generate(u).likelihood.log_prob(x) + log_prior


def invert(backbone: Backbone, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return u = T^{-1}(z), (B, D), and log |det dT/du| at u, the sum of all log scales, (B,)."""
    walk = backbone.top_down(len(z))
    parts, log_volume = [], z.new_zeros(len(z))
    for i, part in enumerate(backbone.layout.split(z)):
        context = walk.context()
        parts.append((part - context.mean) / context.scale)
        log_volume = log_volume + context.scale.log().flatten(1).sum(1)
        if i + 1 < len(backbone.layout):
            walk.take(part)
    return backbone.layout.join(parts), log_volume


def density_of_z(backbone: Backbone, log_prob: LogProb) -> LogProb:
    """Return the log density of z = T(u), (B, D) -> (B,), if u has the log density `log_prob`."""

    def changed(z: Tensor) -> Tensor:
        u, log_volume = invert(backbone, z)
        return log_prob(u) - log_volume

    return changed
