r"""Multi-stage density-ratio estimation in u-space.

Stage m trains a new ratio r_m by telling the aggregated posterior q from the distribution of the stages before,

.. math:: p_m(u) \propto p_{m-1}(u)\, r_m(u), \qquad p_0 = N(0, I), \qquad \log r_m = \ell_m,

with the loss of binary cross-entropy, E_q[softplus(-l_m)] + E_{p_{m-1}}[softplus(l_m)], whose optimum is
l_m = log q / p_{m-1} and whose value rises to 2 log 2 as p_{m-1} comes to q (paper, eq. 5-9, 14).  Stages before m are
frozen, so their samples can be drawn once into a pool.  A new stage starts at l_m = 0, that is at p_{m-1}.

Conditional energies are the same for each layer given the layers above it: positives u_i ~ q(u_i | u_<i), negatives
u_i ~ p_{m-1}(u_i | u_<i) under the same u_<i of the posterior (the two methods' equations put together; neither paper has
it).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import log
from typing import Any, cast

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import softplus

from priorkit.core import Condition, Draw, Latents, LatentSpace, Loss, Objective, Prior, Sampler, StageContext, Step
from priorkit.energies import (
    ConditionalEnergy,
    ConditionalPrior,
    Descent,
    LabelHeads,
    LayerLogits,
    PrefixHeads,
    bounded,
    build_energy,
)
from priorkit_multistage.negatives import Negatives
from priorkit_multistage.pool import check_pool
from priorkit_multistage.settings import MultistageSettings

__all__ = ["MultistagePrior"]

WORTH_A_CHAIN = 0.01
"""Nats that a layer's conditional ratio has to gain on held-out points: each takes evaluations at every step of a chain."""


class MultistagePrior(ConditionalPrior):
    """A product of density ratios, learnt stage by stage with noise-contrastive estimation."""

    Config = MultistageSettings
    settings: MultistageSettings
    active: Tensor
    """How many stages count, a scalar buffer: fewer than M while training, or after an early stop."""
    stopped: Tensor
    """True once an adaptive run has found a stage with nothing left to learn, a scalar buffer."""
    trust: Tensor
    """The factor of each classifier's logit, between 0 and 1, (M, 1) or, with one per layer, (M, L), a buffer."""

    def __init__(self, settings: MultistageSettings, space: LatentSpace) -> None:
        super().__init__(settings, space)
        coupling = settings.energy.coupling_on(space.layout, conditional=True)
        self.conditional, self.separable = coupling == "conditional", coupling == "separable"
        self.by_layer = settings.logit_per_layer(coupling)
        self.bound = settings.logit_bound(self.by_layer)
        self.layer_input = settings.energy_input
        # Long chains on the last ratio alone end in its density and not in the product's.
        self.draws_follow_log_ratio = settings.sampling != "stagewise" or settings.stages == 1
        if settings.negatives == "pool" and settings.stages > 1:
            check_pool(settings.pool_size, space.layout.dim)  # now, and not when a stage has been trained for hours
        self.chosen = settings.ratio_layers(space.layout)
        if self.conditional:
            self.hold_base(settings.base)
            # Each layer has a normaliser that depends on the layers above, and log_ratio leaves it out.
            self.draws_follow_log_ratio = len(space.layout) == 1
        else:
            self.energy_input, self.beside = settings.energy_input, frozenset()
        self.stages = self.first_ratio + settings.stages
        self.energies = nn.ModuleList(self._network() for _ in range(settings.stages))
        heads = PrefixHeads if self.conditional else LabelHeads
        self.labels = heads(settings.labels, space.layout, zero=True)
        # In each of several classifiers the heads' term, which is of all of u, would be counted once per layer.
        self.counts_labels = bool(settings.labels) and not (self.by_layer and len(space.layout) > 1) and not self.conditional
        one = isinstance(self.labels, LabelHeads) and self.labels.within_one_layer
        self.decomposes = self.conditional or (self.separable and (not self.counts_labels or one))
        self.register_buffer("active", torch.zeros((), dtype=torch.int64))
        self.register_buffer("stopped", torch.zeros((), dtype=torch.bool))
        classifiers = len(space.layout) if self.by_layer else 1
        self.register_buffer("trust", torch.ones(settings.stages, classifiers))
        if self.conditional:
            self.trust[:, [i for i in range(classifiers) if i not in self.chosen]] = 0
        self._stage = 0
        self._negatives = Negatives(self, 0)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As of every module; runs of before 0.1.0 trust every stage in full and do not say so."""
        return super().load_state_dict({"trust": self.trust, **state_dict}, strict, assign)

    def _network(self) -> nn.Module:
        """The energies of one stage, 0 to begin with."""
        own = self.settings
        if self.conditional:
            return ConditionalEnergy(own.energy, self.space, own.context, own.context_channels, self.chosen)
        return build_energy(own.energy, self.layout, zero=True)

    def logits(self, x: Tensor, stages: Sequence[int]) -> Tensor:
        """The logits of each of the given stages (from 0) at the energies' input x (B, D), not for conditional energies:
        (stages, B, 1) or (stages, B, L)."""
        return torch.stack([self._stage_logits(x, stage) for stage in stages])

    def _stage_logits(self, x: Tensor, stage: int) -> Tensor:
        """One stage's logits, within the bound: (B, 1) or (B, L)."""
        logits = cast(Tensor, self.energies[stage](x))
        if stage == 0 and self.counts_labels:
            logits = logits + cast(LabelHeads, self.labels).evidence(x)[:, None] / logits.shape[1]
        return bounded(logits, self.bound)

    def layer_logits(self, layer: int, descent: Descent, stages: int | None = None) -> LayerLogits | None:
        """Of conditional energies: the sum over the stages that count for the layer."""
        trust = self.trust[: max(0, self.counted(stages) - self.first_ratio), layer].tolist()
        terms = [(factor, self._at(layer, descent, ratio)) for ratio, factor in enumerate(trust) if factor]
        return (lambda u: torch.stack([factor * term(u) for factor, term in terms]).sum(0)) if terms else None

    def _at(self, layer: int, descent: Descent, stage: int) -> LayerLogits:
        """One stage's conditional logits of a layer, within the bound."""
        logits = cast(ConditionalEnergy, self.energies[stage]).at(layer, descent)
        return lambda u: bounded(logits(u), self.bound)

    @property
    def trained_stages(self) -> int:
        """Stages that count."""
        return int(self.active)

    def log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """Sum of the first `stages` log ratios (default: all that are trained), (B, D) -> (B,).  Of conditional energies
        without the normalisers, functions of the layers above that are 1 at the optimum."""
        return self._terms(u, stages).sum(1)

    def layer_log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor | None:
        """(B, D) -> (B, L) for energies with one network per layer, else None; None also where labels of all layers are
        part of log r."""
        return self._terms(u, stages) if self.decomposes else None

    def _terms(self, u: Tensor, stages: int | None) -> Tensor:
        """The terms of the log ratio, (B, 1) or (B, L)."""
        count = self.counted(stages)
        if count == 0:
            return u.new_zeros(len(u), len(self.layout) if self.separable or self.conditional else 1)
        if self.conditional:
            return self.conditional_log_ratio(u, stages)
        return (self.logits(self.inputs(u), range(count)) * self.trust[:count, None]).sum(0)

    def draw(
        self,
        n: int,
        *,
        sampler: Sampler,
        generator: Generator | None = None,
        keep_every: int = 0,
        stages: int | None = None,
        condition: Condition | None = None,
    ) -> Draw:
        """n points of p_m after `stages` stages (default: all), by one chain from N(0, I) or by one per stage; conditional
        energies layer by layer from the top."""
        last, sampling = self.counted(stages), self.settings.sampling
        progressive = sampling != "joint"
        first = min(last, 1) if progressive else last
        if self.conditional:
            return super().draw(
                n, sampler=sampler, generator=generator, keep_every=keep_every, stages=last, condition=condition
            )
        drawn = Prior.draw(
            self, n, sampler=sampler, generator=generator, keep_every=keep_every, stages=first, condition=condition
        )
        chains = list(drawn.chains)
        for stage in range(2, last + 1) if progressive else ():
            chains.append(
                self.chain(
                    chains[-1].u, sampler=sampler, generator=generator, keep_every=keep_every, stages=stage,
                    condition=condition, choose_start=False,
                    ratio=partial(self._own_log_ratio, stage) if sampling == "stagewise" else None,
                )
            )  # fmt: skip
        return Draw(chains[-1].u if chains else drawn.u, chains)

    def tuned(self, sampler: Sampler, *, stages: int | None = None, generator: Generator | None = None) -> Sampler:
        """The sampler with its step size, or one for each layer, chosen on a pilot run."""
        if self.conditional:
            return super().tuned(sampler, stages=stages, generator=generator)
        return Prior.tuned(self, sampler, stages=stages, generator=generator)

    def _own_log_ratio(self, stage: int, u: Tensor) -> Tensor:
        """log r of one stage (from 1), (B, D) -> (B,)."""
        return (self.logits(self.inputs(u), [stage - 1])[0] * self.trust[stage - 1]).sum(1)

    def counted(self, stages: int | None) -> int:
        """How many stages a question about `stages` of them means; a rejected one never counts."""
        return self.trained_stages if stages is None else min(stages, self.trained_stages)

    def begin_stage(self, stage: int, context: StageContext) -> None:
        """Freeze the stages before, and set their samples, or the posterior's of this moment, aside as negatives."""
        self._stage = stage
        self.active.fill_(stage - 1)
        for number, module in enumerate([*([] if self.base is None else [self.base]), *self.energies], start=1):
            module.requires_grad_(number == stage).train(number == stage)
        self.labels.requires_grad_(stage == 1).train(stage == 1)
        self._negatives = Negatives.of_stage(self, stage, context)

    def objectives(self) -> list[Objective]:
        """Binary cross-entropy of the stage's new ratio, or the likelihood of the conditional Gaussians before them."""
        labels = list(self.labels.parameters()) if self._stage == 1 else []
        if self.base is not None and self._stage == 1:
            optimiser = self.settings.base.optimiser
            own = [*self.base.parameters(), *labels]
            return [
                Objective("likelihood", own, optimiser, lambda batch, step: self._with_labels(self.base_loss(batch), batch))
            ]
        ratio = self.energies[self._stage - 1 - self.first_ratio]
        return [Objective("nce", [*ratio.parameters(), *labels], self.settings.optimiser, self._loss)]

    def end_stage(self, stage: int, context: StageContext) -> dict[str, float]:
        """Count the stage in; its loss and AUC on held-out points against fresh negatives."""
        negatives, self._negatives = replace(self._negatives, stage=stage), Negatives(self, stage)
        self.active.fill_(stage)
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

    def heldout_loss(self, context: StageContext) -> float | None:
        """The training loss at held-out points and negatives of their own; with `adaptive`, of the logits as they count."""
        heldout = context.heldout
        if not len(heldout) or (self._stage == 1 and self.settings.labels and heldout.labels is None):
            return None
        if self.base is not None and self._stage == 1:
            return float(self._with_labels(self.base_loss(heldout), heldout).value)
        found = self._negatives.judged(context, comparing=True)
        loss = found.weighted_loss if self.settings.adaptive else found.loss
        return float(self._with_labels(Loss(loss.sum()), heldout).value)

    def should_train(self, stage: int) -> bool:
        """False once a stage could not tell base from posterior."""
        return not bool(self.stopped)

    def _with_labels(self, loss: Loss, batch: Latents) -> Loss:
        """The loss of the first stage with that of the labels' heads."""
        if self._stage > 1 or not self.settings.labels:
            return loss
        label_loss = self.labels.loss(self.inputs(batch), batch.labels)
        return Loss(loss.value + label_loss, {**loss.metrics, "label_loss": label_loss.detach()})

    def _loss(self, batch: Latents, step: Step) -> Loss:
        positive, negative = self._pairs(batch, step)
        terms = self._cross_entropy(positive, negative)
        metrics = {
            "positive": positive.sum(1).mean().detach(),
            "negative": negative.sum(1).mean().detach(),
            "chance": terms.new_tensor(2 * log(2) * len(terms)),
        }
        if self.decomposes:
            metrics["layer"] = self._cross_entropy(positive, negative, by_layer=True).detach()
        return self._with_labels(Loss(terms.sum(), metrics), batch)

    def _pairs(self, batch: Latents, step: Step) -> tuple[Tensor, Tensor]:
        """The new ratio's logits at positives and at negatives, (B, 1) or (B, L) each."""
        if self.conditional:
            above, negatives = self._negatives.under(batch, step)
            logits = self.conditional_pair(above, above.redrawn(step.generator), negatives)
            return logits[:, 0], logits[:, 1]
        x = self.inputs(batch)
        both = self.logits(torch.cat([x, self.inputs(self._negatives.beside(len(batch), step))]), [self._stage - 1])[0]
        positive, negative = both.chunk(2)
        return positive, negative

    def conditional_pair(self, above: Latents, positives: Tensor, negatives: Tensor) -> Tensor:
        """The new ratio's logits at positives and negatives (B, D), each layer under those of `above` over it: (B, 2, L).

        A layer of which the ratio before had nothing to learn is not asked again.
        """
        ratio = self._stage - 1 - self.first_ratio
        known = self.trust[ratio - 1].tolist() if ratio else [i in self.chosen for i in range(len(self.layout))]

        def at(layer: int, descent: Descent) -> LayerLogits | None:
            return self._at(layer, descent, ratio) if known[layer] else None

        candidates = torch.stack([positives, negatives], dim=1)
        return self.conditional_logits(above.u, candidates, at, features=above.features)

    def _cross_entropy(self, positive: Tensor, negative: Tensor, *, by_layer: bool = False) -> Tensor:
        """The loss in nats, one entry per classifier: (1,) for a joint logit, (L,) for a logit per layer."""
        if not (self.by_layer or by_layer):
            positive, negative = positive.sum(1, keepdim=True), negative.sum(1, keepdim=True)
        return softplus(-positive).mean(0) + softplus(negative).mean(0)
