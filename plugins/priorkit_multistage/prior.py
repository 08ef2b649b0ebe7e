r"""Multi-stage density-ratio estimation in u-space.

Stage m trains a new ratio r_m by telling the aggregated posterior q from the distribution of the stages before,

.. math:: p_m(u) \propto p_{m-1}(u)\, r_m(u), \qquad p_0 = N(0, I), \qquad \log r_m = \ell_m,

with the loss of binary cross-entropy, E_q[softplus(-l_m)] + E_{p_{m-1}}[softplus(l_m)], whose optimum is
l_m = log q / p_{m-1} and whose value rises to 2 log 2 as p_{m-1} comes to q (paper, eq. 5-9, 14).  Stages before m are
frozen, so their samples can be drawn once into a pool.  A new stage starts at l_m = 0, that is at p_{m-1}.
"""

from collections.abc import Sequence
from functools import partial
from math import log
from typing import cast

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import softplus

from priorkit.core import (
    Condition,
    Draw,
    Latents,
    LatentSpace,
    Loss,
    Objective,
    Sampler,
    StageContext,
    Step,
)
from priorkit.energies import LabelHeads, LabelledPrior, build_energy
from priorkit.errors import UsageError
from priorkit_multistage.pool import check_pool, draw_chunks, draw_pool, tuned_sampler
from priorkit_multistage.settings import MultistageSettings

__all__ = ["MultistagePrior"]

JOINT_BOUND = 3.0
"""What `bound: auto` means for a joint logit: chosen on digits, as the results page says."""


class MultistagePrior(LabelledPrior):
    """A product of density ratios, learnt stage by stage with noise-contrastive estimation."""

    Config = MultistageSettings
    settings: MultistageSettings
    active: Tensor
    """How many stages count, a scalar buffer: fewer than M while training, or after an early stop."""
    stopped: Tensor
    """True once an adaptive run has found a stage with nothing left to learn, a scalar buffer."""

    def __init__(self, settings: MultistageSettings, space: LatentSpace) -> None:
        super().__init__(settings, space)
        self.separable = settings.energy.separable(space.layout)
        if settings.logit == "layer" and not self.separable:
            raise UsageError("prior.logit: 'layer' needs one network a layer; add --set prior.energy.coupling=separable.")
        self.by_layer = self.separable and settings.logit != "joint"
        self.bound = (None if self.by_layer else JOINT_BOUND) if settings.bound == "auto" else settings.bound
        self.reads = settings.energy_input
        # Long chains on the last ratio alone end in its density and not in the product's.
        self.draws_follow_log_ratio = settings.sampling != "stagewise" or settings.stages == 1
        self.stages = settings.stages
        if settings.negatives == "pool" and self.stages > 1:
            check_pool(settings.pool_size, space.layout.dim)  # now, and not when a stage has been trained for hours
        self.energies = nn.ModuleList(build_energy(settings.energy, space.layout, zero=True) for _ in range(self.stages))
        self.labels = LabelHeads(settings.labels, space.layout, zero=True)
        # In each of several classifiers the heads' term, which is of all of u, would be counted once per layer.
        self.counts_labels = bool(settings.labels) and not (self.by_layer and len(space.layout) > 1)
        self.decomposes = self.separable and (not self.counts_labels or self.labels.within_one_layer)
        self.register_buffer("active", torch.zeros((), dtype=torch.int64))
        self.register_buffer("stopped", torch.zeros((), dtype=torch.bool))
        self._stage = 0
        self._negatives: Latents | None = None
        self._sampler: Sampler | None = None

    def logits(self, x: Tensor, stages: Sequence[int]) -> Tensor:
        """Sum of the logits of the given stages (from 0) at the energies' input x (B, D): (B, 1) or (B, L)."""
        return torch.stack([self._stage_logits(x, stage) for stage in stages]).sum(0)

    def _stage_logits(self, x: Tensor, stage: int) -> Tensor:
        """One stage's logits, within the bound: (B, 1) or (B, L)."""
        logits = cast(Tensor, self.energies[stage](x))
        if stage == 0 and self.counts_labels:
            logits = logits + self.labels.evidence(x)[:, None] / logits.shape[1]
        # Log densities are added up in single precision or better, also where the networks run in half.
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return logits if self.bound is None else self.bound * torch.tanh(logits / self.bound)

    @property
    def trained_stages(self) -> int:
        """Stages that count."""
        return int(self.active)

    def log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """Sum of the first `stages` log ratios (default: all that are trained), (B, D) -> (B,)."""
        count = self._count(stages)
        if count == 0:
            return u.new_zeros(len(u))
        return self.logits(self.inputs(u), range(count)).sum(1)

    def layer_log_ratio(self, u: Tensor) -> Tensor | None:
        """(B, D) -> (B, L) for separable energies, else None; None also where labels of all layers are part of log r."""
        if not self.decomposes:
            return None
        if not int(self.active):
            return u.new_zeros(len(u), len(self.layout))
        return self.logits(self.inputs(u), range(int(self.active)))

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
        """n points of p_m after `stages` stages (default: all), by one chain from N(0, I) or by one per stage."""
        last, sampling = self._count(stages), self.settings.sampling
        progressive = sampling != "joint"
        first = min(last, 1) if progressive else last
        drawn = super().draw(
            n, sampler=sampler, generator=generator, keep_every=keep_every, stages=first, condition=condition
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

    def _own_log_ratio(self, stage: int, u: Tensor) -> Tensor:
        """log r of one stage (from 1), (B, D) -> (B,)."""
        return self.logits(self.inputs(u), [stage - 1]).sum(1)

    def _count(self, stages: int | None) -> int:
        """How many stages a question about `stages` of them means; a rejected one never counts."""
        return self.trained_stages if stages is None else min(stages, self.trained_stages)

    def begin_stage(self, stage: int, context: StageContext) -> None:
        """Freeze the stages before, and set their samples, or the posterior's of this moment, aside as negatives."""
        self._stage = stage
        self.active.fill_(stage - 1)
        for number, energy in enumerate(self.energies, start=1):
            energy.requires_grad_(number == stage).train(number == stage)
        self.labels.requires_grad_(stage == 1).train(stage == 1)
        self._sampler = tuned_sampler(self, stage - 1, context) if stage > 1 else context.sampler
        if self.settings.negatives == "pool" and stage > 1:
            self._negatives = draw_pool(self, stage, self.settings.pool_size, self._sampler, context)
        if self.settings.negatives == "posterior" and stage > 1:
            self._negatives = context.positives

    def objectives(self) -> list[Objective]:
        """Binary cross-entropy of the stage's new ratio."""
        parameters = list(self.energies[self._stage - 1].parameters())
        if self._stage == 1:
            parameters += list(self.labels.parameters())
        return [Objective("nce", parameters, self.settings.optimiser, self._loss)]

    def end_stage(self, stage: int, context: StageContext) -> dict[str, float]:
        """Count the stage in; its loss and AUC on held-out points against fresh negatives."""
        self._negatives, heldout = None, context.heldout
        if not len(heldout):
            self.active.fill_(stage)
            return {}
        sampler = context.sampler if self._sampler is None else self._sampler
        negatives = draw_chunks(self, stage - 1, len(heldout), sampler, context, "held-out negatives")
        with torch.no_grad():
            positive = self.logits(self.inputs(heldout), [stage - 1])
            negative = self.logits(self.inputs(negatives), [stage - 1])
        loss = self._cross_entropy(positive, negative).sum().item()
        auc = _auc(positive.sum(1), negative.sum(1))
        self.stopped.fill_(self.settings.adaptive and auc < self.settings.adaptive_auc)
        self.active.fill_(stage - int(self.stopped))
        return {"heldout_loss": loss, "heldout_auc": auc}

    def wants(self, stage: int) -> bool:
        """False once a stage could not tell base from posterior."""
        return not bool(self.stopped)

    def _loss(self, batch: Latents, step: Step) -> Loss:
        x = self.inputs(batch)
        positive, negative = self.logits(torch.cat([x, self._negative_inputs(x, step)]), [self._stage - 1]).chunk(2)
        terms = self._cross_entropy(positive, negative)
        metrics = {
            "positive": positive.sum(1).mean().detach(),
            "negative": negative.sum(1).mean().detach(),
            "chance": terms.new_tensor(2 * log(2) * len(terms)),
        }
        if self.decomposes:
            metrics["layer"] = self._cross_entropy(positive, negative, by_layer=True).detach()
        value = terms.sum()
        if self._stage == 1 and self.settings.labels:
            metrics["label_loss"] = (label_loss := self.labels.loss(x, batch.labels)).detach()
            value = value + label_loss
        return Loss(value, metrics)

    def _cross_entropy(self, positive: Tensor, negative: Tensor, *, by_layer: bool = False) -> Tensor:
        """The loss in nats, one entry a classifier: (1,) for a joint logit, (L,) for a logit a layer."""
        if not (self.by_layer or by_layer):
            positive, negative = positive.sum(1, keepdim=True), negative.sum(1, keepdim=True)
        return softplus(-positive).mean(0) + softplus(negative).mean(0)

    def _negative_inputs(self, like: Tensor, step: Step) -> Tensor:
        """As many negatives as `like` has rows, as the energies read them."""
        n = len(like)
        if self._stage == 1:
            return self.inputs(self.standard_normal(n, step.generator))
        if self._negatives is not None:
            index = torch.randint(len(self._negatives), (n,), generator=step.generator, device=like.device)
            return self.inputs(self._negatives[index])
        if self._sampler is None:
            raise RuntimeError("MultistagePrior: begin_stage was not called before its loss")
        return self.inputs(self.draw(n, sampler=self._sampler, generator=step.generator, stages=self._stage - 1).u)


def _auc(positive: Tensor, negative: Tensor) -> float:
    """Probability that a positive scores above a negative; ties count half."""
    order = torch.sort(negative).values
    below = torch.searchsorted(order, positive, right=False) + torch.searchsorted(order, positive, right=True)
    return float(below.double().mean() / (2 * len(negative)))
