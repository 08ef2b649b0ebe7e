r"""The generator's gradient in joint training.

The model of x is :math:`p(x) = \frac1Z \int p(x \mid T(u))\, r(u)\, N(u; 0, I)\, du` with
:math:`Z = \int r(u)\, N(u; 0, I)\, du`, where the decoder, T and, through z = T(u), an energy that reads z depend on the
generator's parameters :math:`\theta`.  Differentiating under the integrals and dividing by them (Fisher's identity) gives

.. math:: \nabla_\theta \log p(x) = E_{p(u \mid x)}[\nabla_\theta \log p(x \mid T_\theta(u))
          + \nabla_\theta \log r_\theta(u)] - E_{p(u)}[\nabla_\theta \log r_\theta(u)],

with u held fixed. If the energy reads u, r does not depend on :math:`\theta` and only the first term remains: neither the
Gaussian nor Z is trained. If it reads z, :math:`\log r_\theta(u) = F(T_\theta(u))`, the second and third terms move the
layers' conditionals, and the third needs samples of the prior (JointEBM; left out of eq. 11 of the multi-stage paper).

With z held fixed instead, as in the released codes, the same likelihood is
:math:`p(x) = \frac1Z \int p(x \mid z)\, e^{F(z)}\, p_\theta(z)\, dz` and

.. math:: \nabla_\theta \log p(x) = E_{p(z \mid x)}[\nabla_\theta \log p_\theta(x \mid z) + \nabla_\theta \log p_\theta(z)]
          - E_{p(z)}[\nabla_\theta \log p_\theta(z)],

where the base prior :math:`p_\theta(z)` is trained on posterior and prior samples. For an energy that reads u, F(T^{-1}(z))
is added to log p(z); Z then does not depend on :math:`\theta`, and the last term is zero on average and left out.

The variational scheme uses q(u | x) as the posterior and maximises the bound
:math:`E_q[\log p(x \mid T(u))] - KL(q \| N) + E_q[\log r(u)] - \log Z` (JointEBM, variational variant), reparametrised; the
gradient of log Z is the third term above.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from priorkit.core import Backbone, Likelihood, Loss, Prior, frozen, invert, invert_and_decode, sharing_latents
from priorkit.errors import UsageError
from priorkit.mcmc import log_normal

__all__ = ["Batch", "GeneratorLoss"]


@dataclass(frozen=True)
class Batch:
    """The data and samples of one training step."""

    x: Tensor
    """(B, *spec.shape), as observed."""
    labels: Tensor | None
    """(B,), or None."""
    positive: Tensor | None
    """Posterior samples, u or z by the chain's space, (B, D); None if the inference network provides them."""
    negative: Tensor | None
    """Prior samples in the same space, (B, D); None if the generator's gradient needs none."""


@dataclass(frozen=True)
class GeneratorLoss:
    """Scalars whose gradient with respect to the generator is minus that of the mean log p(x), or of its bound."""

    backbone: Backbone
    prior: Prior | None
    """None while the generator is trained under the Gaussian prior."""
    space: Literal["u", "z"] = "u"

    def of_chain(self, batch: Batch) -> Loss:
        """Return the loss for posterior samples, which are held fixed."""
        if batch.positive is None:
            raise RuntimeError("GeneratorLoss: a chain's loss without its samples")
        likelihood, log_prior = self._positive(batch.positive, needed=batch.negative is not None)
        log_px = likelihood.log_prob(batch.x).mean()
        metrics = _figures(likelihood, batch.x, log_px)
        value = -log_px
        if log_prior is not None:
            positive = log_prior.mean()
            value, metrics["positive"] = value - positive, positive.detach()
        if batch.negative is not None:
            negative = (self._log_ratio if self.space == "u" else self._log_density)(batch.negative).mean()
            value, metrics["negative"] = value + negative, negative.detach()
        return Loss(value, metrics)

    def _positive(self, sample: Tensor, *, needed: bool) -> tuple[Likelihood, Tensor | None]:
        """Return p(x | z) at posterior samples (B, D) and the term of the prior, (B,), in one walk; in u-space the term only
        if it is `needed`."""
        if self.space == "z":
            u, log_volume, likelihood = invert_and_decode(self.backbone, sample)
            return likelihood, self._density_at(u, log_volume)
        generation = self.backbone.generate(sample)
        if not needed:
            return generation.likelihood, None
        with sharing_latents(self.prior, sample, self.backbone.layout.join(generation.z)):
            return generation.likelihood, self._log_ratio(sample)

    def of_bound(self, batch: Batch, weight: float, generator: Generator) -> Loss:
        """Return the loss for the inference network, with `weight` on KL minus log r."""
        posterior = self.backbone.infer(batch.x, generator=generator)
        if posterior.kl is None:
            raise UsageError(
                "trainer.posterior: 'variational' needs a backbone whose inference has a density; use --set "
                "trainer.posterior=chain."
            )
        generation = self.backbone.generate(posterior.u)
        likelihood = generation.likelihood
        log_px = likelihood.log_prob(batch.x).mean()
        with sharing_latents(self.prior, posterior.u, self.backbone.layout.join(generation.z)):
            log_ratio = self._log_ratio(posterior.u).mean()
        kl = posterior.kl.mean(0)
        value = weight * (kl.sum() - log_ratio) - log_px
        if batch.negative is not None:
            value = value + weight * self._log_ratio(batch.negative).mean()
        metrics = {**_figures(likelihood, batch.x, log_px), "kl": kl.detach(), "log_ratio": log_ratio.detach()}
        return Loss(value, metrics)

    def _log_ratio(self, u: Tensor) -> Tensor:
        """Return log r(u) with the prior's parameters fixed, (B, D) -> (B,)."""
        if self.prior is None:
            return u.new_zeros(len(u))
        with frozen(self.prior):
            return self.prior.log_ratio(u)

    def _log_density(self, z: Tensor) -> Tensor:
        """Return log p(z) up to a constant and to terms that do not depend on the generator, (B, D) -> (B,)."""
        return self._density_at(*invert(self.backbone, z))

    def _density_at(self, u: Tensor, log_volume: Tensor) -> Tensor:
        """Return the same at u = T^{-1}(z), (B, D), with the log volume (B,)."""
        base = log_normal(u) - log_volume
        return base if self.prior is None or self.prior.energy_input == "z" else base + self._log_ratio(u)


@torch.no_grad()
def _figures(likelihood: Likelihood, x: Tensor, log_px: Tensor) -> dict[str, Tensor]:
    return {"log_px": log_px.detach(), "reconstruction": (likelihood.mean - x).square().mean()}
