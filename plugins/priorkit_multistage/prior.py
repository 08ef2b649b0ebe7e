r"""Multi-stage density-ratio estimation in u-space.

Stage m trains a new ratio r_m by classifying samples of the aggregated posterior q and of the previous stages,

.. math:: p_m(u) \propto p_{m-1}(u)\, r_m(u), \qquad p_0 = N(0, I), \qquad \log r_m = \ell_m,

with the binary cross-entropy, E_q[softplus(-l_m)] + E_{p_{m-1}}[softplus(l_m)], whose optimum is
l_m = log q / p_{m-1} and whose value rises to 2 log 2 as p_{m-1} approaches q (paper, eq. 5-9, 14). Stages before m are
frozen, so their samples can be drawn once into a pool.  A new stage starts at l_m = 0, that is, at p_{m-1}.  With
`prior.base_prior`, p_0 is another prior, trained in stages before the first ratio.

Conditional energies are the same for each layer given the layers above it: positives u_i ~ q(u_i | u_<i), negatives
u_i ~ p_{m-1}(u_i | u_<i) given the same u_<i of the posterior (a combination of the two methods' equations; in neither
paper).
"""

from dataclasses import replace
from math import log

import torch
from torch import Tensor

from priorkit.core import Latents, LatentSpace, Loss, Objective, StageContext, Step
from priorkit_multistage.nce import nce_loss
from priorkit_multistage.negatives import Negatives
from priorkit_multistage.pool import check_pool
from priorkit_multistage.ratios import RatioProduct
from priorkit_multistage.settings import MultistageSettings

__all__ = ["MultistagePrior"]

WORTH_A_CHAIN = 0.01
"""Smallest gain in nats on held-out points for which a layer's conditional ratio is used: each needs evaluations at every
step of a chain."""


class MultistagePrior(RatioProduct):
    """A product of density ratios, learnt stage by stage with noise-contrastive estimation."""

    Config = MultistageSettings

    def __init__(self, settings: MultistageSettings, space: LatentSpace) -> None:
        super().__init__(settings, space)
        if settings.negatives == "pool" and len(self.energies) > 1:
            check_pool(settings.pool_size, space.layout.dim)  # here, and not only after a stage has been trained for hours
        self._stage = 0
        self._negatives = Negatives(self, 0)

    @property
    def _first(self) -> int:
        """The stage that learns the labels: the first ratio, or the conditional Gaussians before it."""
        return 1 + self.base_stages

    def begin_stage(self, stage: int, context: StageContext) -> None:
        """Freeze the previous stages, then begin the base's stage or `begin_ratio`."""
        self._stage = stage
        self.active.fill_(stage - 1)
        modules = [*([] if self.base is None else [self.base]), *self.energies]
        for number, module in enumerate(modules, start=self._first):
            module.requires_grad_(number == stage).train(number == stage)
        self.labels.requires_grad_(stage == self._first).train(stage == self._first)
        super().begin_stage(stage, context)

    def begin_ratio(self, stage: int, context: StageContext) -> None:
        """Store samples of the previous stages, or the current posterior's, as negatives."""
        self._negatives = Negatives.of_stage(self, stage, context)

    def ratio_objectives(self) -> list[Objective]:
        """Return the binary cross-entropy of the stage's new ratio, or the likelihood of the conditional Gaussians before
        them."""
        labels = list(self.labels.parameters()) if self._stage == self._first else []
        if self.base is not None and self._stage == 1:
            optimiser = self.settings.base.optimiser
            own = [*self.base.parameters(), *labels]
            return [
                Objective("likelihood", own, optimiser, lambda batch, step: self._with_labels(self.base_loss(batch), batch))
            ]
        ratio = self.energies[self._stage - 1 - self.first_ratio]
        return [Objective("nce", [*ratio.parameters(), *labels], self.settings.optimiser, self._loss)]

    def end_stage(self, stage: int, context: StageContext) -> dict[str, float]:
        """Add the stage to the prior; return its figures on held-out points."""
        self.active.fill_(stage)
        return super().end_stage(stage, context)

    def end_ratio(self, stage: int, context: StageContext) -> dict[str, float]:
        """Return the stage's loss and AUC on held-out points against new negatives."""
        negatives, self._negatives = replace(self._negatives, stage=stage), Negatives(self, stage)
        if self.base is not None and stage == 1:
            return self.end_base(context, ratios=self.chosen, adaptive=self.settings.adaptive)
        if not len(context.heldout):
            return {}
        found = negatives.judged(context)
        if self.settings.adaptive:
            ratio = stage - 1 - self.first_ratio
            least = WORTH_A_CHAIN if self.conditional else 0.0
            self.trust[ratio] = found.trust(self.settings.adaptive_auc, least).to(self.trust)
            self.stopped.fill_(not bool(self.trust[ratio].any()))
            self.active.fill_(stage - int(self.stopped))
        return found.figures()

    def ratio_heldout_loss(self, context: StageContext) -> float | None:
        """Return the training loss at held-out points and separate negatives; with `adaptive`, with the logits' factors."""
        heldout = context.heldout
        if not len(heldout) or (self._stage == self._first and self.settings.labels and heldout.labels is None):
            return None
        if self.base is not None and self._stage == 1:
            return float(self._with_labels(self.base_loss(heldout), heldout).value)
        found = self._negatives.judged(context, comparing=True)
        loss = found.weighted_loss if self.settings.adaptive else found.loss
        return float(self._with_labels(Loss(loss.sum()), heldout).value)

    def should_train(self, stage: int) -> bool:
        """Return False after a stage that could not distinguish base and posterior."""
        return not bool(self.stopped) and super().should_train(stage)

    def _with_labels(self, loss: Loss, batch: Latents) -> Loss:
        """Return the loss of the first stage plus that of the labels' heads."""
        if self._stage != self._first or not self.settings.labels:
            return loss
        label_loss = self.labels.loss(self.inputs(batch), batch.labels)
        return Loss(loss.value + label_loss, {**loss.metrics, "label_loss": label_loss.detach()})

    def _loss(self, batch: Latents, step: Step) -> Loss:
        positive, negative = self._pairs(batch, step)
        terms = self._cross_entropy(positive, negative)
        metrics = {
            "positive": positive.sum(1).mean().detach(),
            "negative": negative.sum(1).mean().detach(),
            "chance": terms.new_full((), 2 * log(2) * len(terms)),
        }
        if self.decomposes:
            metrics["layer"] = self._cross_entropy(positive, negative, by_layer=True).detach()
        return self._with_labels(Loss(terms.sum(), metrics), batch)

    def _pairs(self, batch: Latents, step: Step) -> tuple[Tensor, Tensor]:
        """Return the new ratio's logits at positives and at negatives, (B, 1) or (B, L) each."""
        if self.conditional:
            above, negatives = self._negatives.under(batch, step)
            logits = self.conditional_pair(self._stage, above, above.redrawn(step.generator), negatives)
            return logits[:, 0], logits[:, 1]
        x = self.inputs(batch)
        both = self.logits(
            torch.cat([x, self.inputs(self._negatives.beside(len(batch), step))]), [self._stage - self._first]
        )[0]
        positive, negative = both.chunk(2)
        return positive, negative

    def _cross_entropy(self, positive: Tensor, negative: Tensor, *, by_layer: bool = False) -> Tensor:
        """Return the loss in nats, one entry per classifier: (1,) for a joint logit, (L,) for a logit per layer."""
        if not (self.by_layer or by_layer):
            positive, negative = positive.sum(1, keepdim=True), negative.sum(1, keepdim=True)
        return nce_loss(positive, negative)
