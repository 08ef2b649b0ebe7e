r"""Mixtures of posteriors in u-space: VampPrior (Tomczak and Welling 2018) and the exemplar prior, after the backbone.

.. math:: p(u) = \prod_i p_i(u_i), \qquad p_i(u_i) = \frac1K \sum_{k=1}^{K} N(u_i; m_{k,i}, s_{k,i}^2).

The aggregated posterior of a layer is the mean of :math:`q(u_i \mid x, u_{<i})` over images and samples of the layers above.
Exemplars are K of its terms; pseudo-components have means and scales that are learnt by maximum likelihood.
"""

from functools import partial

import torch
from torch import Tensor, nn

from priorkit.core import Draw, Latents, LatentSpace, Loss, Objective, Prior, Sampling, StageContext, Step
from priorkit_vampprior.exemplars import best_factor, exemplars, same_image
from priorkit_vampprior.mixture import Components, PosteriorMixture
from priorkit_vampprior.settings import VampPriorSettings

__all__ = ["VampPrior"]

JUDGED = 1_000
"""Points with which a factor on the scales is chosen."""
CHUNK = 500
"""Held-out points evaluated at once."""


class VampPrior(Prior):
    """Independent mixtures of the layers with exact densities and exact samples."""

    Config = VampPriorSettings
    settings: VampPriorSettings
    normalised = True
    beside = frozenset({"moments"})
    used: Tensor
    """(L,), bool: layers with a mixture; the others are N(0, I)."""
    begun: Tensor
    """(), bool: whether the components are set."""
    factors: Tensor
    """(L,): the factor on the scales of the exemplars, or of the posteriors where pseudo-components start."""

    def __init__(self, settings: VampPriorSettings, space: LatentSpace) -> None:
        super().__init__(settings, space)
        self.learnt = settings.components == "pseudo"
        self.chosen = self.layout.select(settings.layers)
        self.number = settings.count(self.layout.dim)
        self.mixtures = nn.ModuleDict(
            {str(i): PosteriorMixture(self.number, self.layout.sizes[i], learnt=self.learnt) for i in self.chosen}
        )
        self.register_buffer("used", torch.zeros(len(self.layout), dtype=torch.bool))
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))
        self.register_buffer("factors", torch.ones(len(self.layout)))

    def layer_log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """Return log p_i(u_i) - log N(u_i; 0, I), exact, (B, D) -> (B, L)."""
        terms = self._terms(u)
        return terms * self.used if stages != 0 else torch.zeros_like(terms)

    def _terms(self, u: Tensor) -> Tensor:
        """Return the log ratio of every mixture, whether it is used or not; 0 for a layer without one. (B, L)."""
        mixtures = dict(self._mixtures())
        parts = [(mixtures.get(i), part) for i, part in enumerate(self.layout.columns(u))]
        return torch.stack([part.new_zeros(len(part)) if own is None else own.log_ratio(part) for own, part in parts], 1)

    def log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """Return log p(u) - log N(u; 0, I), exact and normalised, (B, D) -> (B,)."""
        return self.layer_log_ratio(u, stages=stages).sum(1)

    @torch.no_grad()
    def draw(self, n: int, sampling: Sampling) -> Draw:
        """Return n exact samples; the sampler is not used. Fixed layers change nothing below them, as layers are
        independent."""
        noise = self.standard_normal(n, sampling.generator)
        if sampling.labels:
            self.label_log_prob(noise, sampling.labels)  # rejects them
        parts = list(self.layout.columns(noise))
        if sampling.stages != 0:
            for i, mixture in self._mixtures():
                if self.used[i]:
                    parts[i] = mixture.draw(parts[i], sampling.generator)
        return Draw(sampling.fix(torch.cat(parts, dim=1)))

    @torch.no_grad()
    def begin_stage(self, stage: int, context: StageContext) -> None:
        """Set the components to posteriors of training images; not again when a killed run resumes."""
        if self.begun:
            return
        found = context.cache("exemplars", partial(self._exemplars, context))
        self.factors.copy_(found["factors"])
        for i, mixture in self._mixtures():
            mixture.set(found[f"means_{i}"], found[f"log_scales_{i}"])
            self.used[i] = True
        self.begun.fill_(True)

    def _exemplars(self, context: StageContext) -> dict[str, Tensor]:
        points, heldout = context.positives, context.heldout[:JUDGED]
        layers = exemplars(points, self.number, self.layout, context.streams.generator("vampprior.exemplars"))
        own = None
        if not len(heldout):
            heldout = points[:JUDGED]
            own = same_image(heldout, layers[0], self.layout)
        found = {"factors": torch.ones(len(self.layout))}
        parts = list(self.layout.columns(heldout.u))
        for i in context.progress(self.chosen, len(self.chosen), "scales of exemplars"):
            factor = best_factor(layers[i], parts[i], own)
            scaled = Components(layers[i].means, layers[i].log_scales + torch.tensor(factor).log())
            found |= {f"means_{i}": scaled.means, f"log_scales_{i}": scaled.log_scales}
            found["factors"][i] = factor
        return found

    def objectives(self) -> list[Objective]:
        """Return the negative log likelihood of posterior samples; nothing for exemplars."""
        if not self.learnt:
            return []
        return [Objective("likelihood", list(self.mixtures.parameters()), self.settings.optimiser, self._loss)]

    def _loss(self, batch: Latents, step: Step) -> Loss:
        with torch.autocast(batch.u.device.type, enabled=False):
            layers = -self._terms(batch.redrawn(step.generator)).mean(0)
        return Loss(layers.sum(), {"layer": layers.detach()})

    @torch.no_grad()
    def heldout_loss(self, context: StageContext) -> float | None:
        """Return the negative log likelihood over that of N(0, I) of held-out points."""
        return -float(self._gains(context.heldout.u).sum()) if len(context.heldout) else None

    @torch.no_grad()
    def end_stage(self, stage: int, context: StageContext) -> dict[str, float]:
        """Leave N(0, I) in layers whose mixture gains nothing on held-out points; return the gains in nats."""
        figures = {f"factor_layer_{i}": float(self.factors[i]) for i in self.chosen}
        if not len(context.heldout):
            return figures
        gains = self._gains(context.heldout.u)
        self.used.copy_(gains > 0)
        layers = {f"heldout_gain_layer_{i}": float(gains[i]) for i in self.chosen}
        return {"heldout_gain": float(gains.clamp(min=0).sum()), **layers, **figures}

    def _gains(self, u: Tensor) -> Tensor:
        """Return the mean log ratio of every mixture over points (N, D), (L,)."""
        return torch.cat([self._terms(part) for part in torch.split(u, CHUNK)]).mean(0)

    def _mixtures(self) -> list[tuple[int, PosteriorMixture]]:
        return [(int(name), mixture) for name, mixture in self.mixtures.items() if isinstance(mixture, PosteriorMixture)]
