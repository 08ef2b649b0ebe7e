r"""Telescoping density-ratio estimation in u-space (Rhodes, Xu, Gutmann 2020).

.. math:: \log r(u) = \sum_{k=0}^{K-1} \log \frac{p_k}{p_{k+1}}(u), \qquad
          p_k \text{ the density of } u_k = a_k u + \sqrt{1 - a_k^2}\, \epsilon, \quad p_K = N(0, I).

Each bridge is a classifier between samples of two neighbouring waymarks, which overlap far more than data and noise do.
All bridges are learnt at the same time, from the same points, and no chain runs in training.  With `prior.base_prior` the
noise is a sample of that base, independent of the data, and p_K the base.
"""

from math import log

import torch
from torch import Generator, Tensor

from priorkit.core import Latents, Loss, Objective, StageContext, Step
from priorkit.core.base_density import without_chains
from priorkit_tre.bridges import BridgeDensities
from priorkit_tre.judgement import bridge_losses, figures
from priorkit_tre.settings import TreSettings

__all__ = ["TrePrior"]

JUDGED = 2_000
"""Held-out points judged at once."""


class TrePrior(BridgeDensities):
    """A product of ratios between neighbouring waymarks, learnt with noise-contrastive estimation."""

    Config = TreSettings

    def ratio_objectives(self) -> list[Objective]:
        """Return the cross-entropy of all bridges."""
        return [Objective("bridges", self.ratio_parameters(), self.settings.optimiser, self._loss)]

    def end_ratio(self, stage: int, context: StageContext) -> dict[str, float]:
        """Return the loss and the AUC of each bridge on held-out points."""
        if not len(context.heldout):
            return {}
        return figures(*self._judged(context, "tre.heldout"))

    def ratio_heldout_loss(self, context: StageContext) -> float | None:
        """Return the training loss on held-out points, with the same noise each time."""
        heldout = context.heldout
        if not len(heldout) or (self.settings.labels and heldout.labels is None):
            return None
        loss = bridge_losses(*self._judged(context, "tre.compared")).sum()
        return float(loss + self.labels.loss(heldout.u, heldout.labels))

    @torch.no_grad()
    def _judged(self, context: StageContext, name: str) -> tuple[Tensor, Tensor]:
        """The logits at held-out positives and negatives, (N, C, K) each."""
        u = context.heldout.u
        generator = context.streams.generator(name, device=u.device)
        pairs = [self._pairs(part, generator) for part in torch.split(u, JUDGED)]
        return torch.cat([positive for positive, _ in pairs]), torch.cat([negative for _, negative in pairs])

    def _pairs(self, u: Tensor, generator: Generator | None) -> tuple[Tensor, Tensor]:
        """The logits of each bridge at the waymark before it and at the one after it, of data u (B, D): (B, C, K) each."""
        noise = self._noise_like(u, generator)
        points = self.waymarks.every(u, noise)
        # Each waymark is evaluated once, for the bridges on both sides of it: (K + 1, B, L or 1, K).
        logits = self.logits(points.flatten(0, 1))
        logits = logits.view(*points.shape[:2], *logits.shape[1:])
        if not self.by_layer:
            logits = logits.sum(2, keepdim=True)
        bridge = torch.arange(self.waymarks.bridges, device=u.device)
        positive, negative = logits[bridge, :, :, bridge], logits[bridge + 1, :, :, bridge]
        return positive.movedim(0, 2), negative.movedim(0, 2)

    def _noise_like(self, u: Tensor, generator: Generator | None) -> Tensor:
        """As many samples of the base as there are data u (B, D), (B, D)."""
        if self.base_prior is None:
            return torch.empty_like(u).normal_(generator=generator)
        return self.base_draw(len(u), without_chains(generator=generator))

    def _loss(self, batch: Latents, step: Step) -> Loss:
        """The sum of the bridges' cross-entropies."""
        losses = bridge_losses(*self._pairs(batch.u, step.generator))
        metrics = {"bridge": losses.sum(0).detach(), "chance": losses.new_full((), 2 * log(2) * losses.numel())}
        value = losses.sum()
        if self.settings.labels:
            metrics["label_loss"] = (label_loss := self.labels.loss(batch.u, batch.labels)).detach()
            value = value + label_loss
        return Loss(value, metrics)
