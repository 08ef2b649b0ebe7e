r"""Noise-contrastive estimation, one classifier per layer.

Layer i's classifier separates :math:`u_i \sim q(u_i \mid u_{<i}, x)` from :math:`\epsilon_i \sim N(0, I)`, in both cases
given the layers above of the same posterior sample. Its cross-entropy is minimal at the logit

.. math:: \ell_i(u_i; u_{<i}) = \log q(u_i \mid u_{<i}) - \log N(u_i; 0, I), \qquad q(u) = E_x\, q(u \mid x),

with the aggregated posterior's conditionals (Aneja et al. 2021, "A Contrastive Learning Approach for Training
Variational Autoencoder Priors", in u-space; quoted by the multi-stage paper as its eq. 3).  The prior is the chain

.. math:: p(u) = \prod_i N(u_i; 0, I)\, e^{\ell_i(u_i; u_{<i})} / Z_i(u_{<i}).

All layers are trained at once and no training step needs a chain.  At the optimum every :math:`Z_i` is 1; before it
they are unknown functions of the layers above, and are left out of `log_ratio`.
"""

from dataclasses import replace
from math import log

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import softplus

from priorkit.core import Chain, Latents, LatentSpace, Loss, Objective, Sampler, Sampling, StageContext, Step
from priorkit.energies import (
    ConditionalEnergy,
    ConditionalPrior,
    Descent,
    LayerLogits,
    PrefixHeads,
    bounded,
    layers_for_ratios,
)
from priorkit.metrics.auc import area_under_roc
from priorkit_ncp.resampling import Resampling
from priorkit_ncp.settings import NcpSettings

__all__ = ["NcpPrior"]

CHUNK = 2_000
"""Number of held-out points evaluated at once."""
RESAMPLED_UP_TO = 64
"""Number of latents of a layer up to which `sampling: auto` resamples."""


class NcpPrior(ConditionalPrior):
    """A chain of conditional density ratios, sampled from the top layer down. It uses only u of `Latents`."""

    Config = NcpSettings
    settings: NcpSettings

    def __init__(self, settings: NcpSettings, space: LatentSpace) -> None:
        super().__init__(settings, space)
        self.layer_input = settings.energy_input
        # With context each layer has a normaliser that depends on the layers above, which log_ratio leaves out.
        self.draws_follow_log_ratio = settings.context == "none" or len(space.layout) == 1
        self.hold_base(settings.base)
        self.stages = self.first_ratio + 1
        self.chosen = layers_for_ratios(space.layout, settings.layers)
        self.energy = ConditionalEnergy(settings.energy, space, settings.context, settings.context_channels, self.chosen)
        self.labels = PrefixHeads(settings.labels, space.layout, zero=True)
        self._stage = self.stages
        self._resampling = Resampling(settings.proposals, settings.chunk)

    @property
    def classifiers(self) -> nn.ModuleList:
        """The network of each layer, the identity of a layer without one."""
        return self.energy.nets

    def layer_logits(self, layer: int, descent: Descent, stages: int | None = None) -> LayerLogits | None:
        """Return the logits of candidates u_i (B, N, *shape_i) given the descent's layers, (B, N), within the bound; None
        for a layer without a classifier."""
        if self.counted(stages) <= self.first_ratio or layer not in self.chosen:
            return None
        logits, bound = self.energy.at(layer, descent), self.settings.bound
        return lambda u: bounded(logits(u), bound)

    def layer_log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """Return `conditional_log_ratio`."""
        return self.conditional_log_ratio(u, stages)

    def log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """Return the sum over layers of `layer_log_ratio`, (B, D) -> (B,).

        Samples have the log ratio sum_i (log r_i - log Z_i(u_<i)). With one layer, or without context, the Z_i are
        constants; else `log_prob` is the density of samples only at the optimum of the classifiers, where Z_i = 1.
        """
        return u.new_zeros(len(u)) if stages == 0 else self.layer_log_ratio(u, stages=stages).sum(1)

    def tuned(self, sampler: Sampler, *, stages: int | None = None, generator: Generator | None = None) -> Sampler:
        """Return the sampler with a step size for each layer, if layers are sampled by chains."""
        if all(self._resampled(layer) for layer in self.chosen):
            return sampler
        return super().tuned(sampler, stages=stages, generator=generator)

    def draw_layer(self, layer: int, descent: Descent, u: Tensor, sampling: Sampling) -> Chain:
        """Return one of `proposals` samples of the base for the layer, or the end of a chain."""
        if self._resampled(layer):
            sampling = replace(sampling, sampler=self._resampling)
        return super().draw_layer(layer, descent, u, sampling)

    def _resampled(self, layer: int) -> bool:
        """Return whether a layer is sampled by importance resampling and not by a chain."""
        sampling = self.settings.sampling
        return self.layout.sizes[layer] <= RESAMPLED_UP_TO if sampling == "auto" else sampling == "sir"

    def objectives(self) -> list[Objective]:
        """Return the sum of all layers' cross-entropies, or the likelihood of the base before them."""
        if self._stage <= self.first_ratio and self.base is not None:
            return [Objective("likelihood", list(self.base.parameters()), self.settings.base.optimiser, self._base_loss)]
        own = [*self.energy.parameters(), *self.labels.parameters()]
        return [Objective("nce", own, self.settings.optimiser, self._loss)]

    def begin_stage(self, stage: int, context: StageContext) -> None:
        """Freeze the networks of the other stage."""
        self._stage = stage
        if self.base is not None:
            self.base.requires_grad_(stage == 1).train(stage == 1)

    def _base_loss(self, batch: Latents, step: Step) -> Loss:
        return self.base_loss(batch)

    def _loss(self, batch: Latents, step: Step) -> Loss:
        u, positives = batch.u, batch.redrawn(step.generator)
        logits = self.conditional_logits(
            u, torch.stack([positives, self._negatives(batch, step.generator)], 1), features=batch.features
        )
        layers = _cross_entropy(logits)
        metrics = {
            "positive": logits[:, 0].sum(1).mean().detach(),
            "negative": logits[:, 1].sum(1).mean().detach(),
            "chance": layers.new_full((), 2 * log(2) * len(layers)),
            "layer": layers.detach(),
        }
        value = layers.sum()
        if self.settings.labels:
            metrics["label_loss"] = (label_loss := self.labels.loss(self.inputs(batch), batch.labels)).detach()
            value = value + label_loss
        return Loss(value, metrics)

    def heldout_loss(self, context: StageContext) -> float | None:
        """Return the training loss at held-out points, against separate negatives."""
        heldout = context.heldout
        if not len(heldout) or (self.settings.labels and heldout.labels is None):
            return None
        generator = context.streams.generator("ncp.validating", device=heldout.u.device)
        (objective,) = self.objectives()
        return float(objective.loss(heldout, Step(0, 1, generator)).value)

    def end_stage(self, stage: int, context: StageContext) -> dict[str, float]:
        """Return loss and AUC of each layer's classifier on held-out points."""
        heldout = context.heldout
        if stage <= self.first_ratio:
            return self.end_base(context, ratios=self.chosen, adaptive=True)
        if not len(heldout):
            return {}
        negatives = self._negatives(heldout, context.streams.generator("ncp.heldout", device=heldout.u.device))
        pairs = torch.split(torch.stack([heldout.u, negatives], dim=1), CHUNK)
        with torch.no_grad():
            logits = torch.cat([self.conditional_logits(pair[:, 0], pair) for pair in pairs])
        losses, areas = _cross_entropy(logits), area_under_roc(logits[:, 0].T, logits[:, 1].T)
        figures = {"heldout_loss": losses.sum().item()}
        for i, (loss, area) in enumerate(zip(losses.tolist(), areas.tolist(), strict=True)):
            figures |= {f"heldout_loss_layer_{i}": loss, f"heldout_auc_layer_{i}": area}
        return figures

    def _negatives(self, latents: Latents, generator: Generator | None) -> Tensor:
        """Return samples of the base given the layers of N points above each, (N, D); the points' own in layers without a
        classifier."""
        base = Sampling(self._resampling, generator, stages=self.first_ratio)
        return self.redraw(latents.u, base, features=latents.features, layers=self.chosen)


def _cross_entropy(logits: Tensor) -> Tensor:
    """Return the loss of positives logits[:, 0] and negatives logits[:, 1], (B, 2, L) -> (L,), in nats; 2 log 2 for
    chance."""
    return softplus(-logits[:, 0]).mean(0) + softplus(logits[:, 1]).mean(0)
