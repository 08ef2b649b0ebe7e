r"""Noise-contrastive estimation, one classifier a layer.

Layer i's classifier tells :math:`u_i \sim q(u_i \mid u_{<i}, x)` from :math:`\epsilon_i \sim N(0, I)`, in both cases under
the layers above of the same posterior sample.  Its cross-entropy is least at the logit

.. math:: \ell_i(u_i; u_{<i}) = \log q(u_i \mid u_{<i}) - \log N(u_i; 0, I), \qquad q(u) = E_x\, q(u \mid x),

with the aggregated posterior's conditionals (Aneja et al. 2021, "A Contrastive Learning Approach for Training
Variational Autoencoder Priors", in u-space; quoted by the multi-stage paper as its eq. 3).  The prior is the chain

.. math:: p(u) = \prod_i N(u_i; 0, I)\, e^{\ell_i(u_i; u_{<i})} / Z_i(u_{<i}).

All layers learn at once and no step of training needs a chain.  At the optimum every :math:`Z_i` is 1; before it
they are unknown functions of the layers above, and are left out of `log_ratio`.
"""

from collections.abc import Mapping
from math import log

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import softplus

from priorkit.core import (
    Chain,
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
from priorkit.energies import (
    ConditionalEnergy,
    ConditionalPrior,
    Descent,
    LayerLogits,
    LayerRun,
    PrefixHeads,
)
from priorkit_ncp.resampling import resample
from priorkit_ncp.settings import NcpSettings

__all__ = ["NcpPrior"]

CHUNK = 2_000
"""Held-out points judged at once."""


class NcpPrior(ConditionalPrior):
    """A chain of conditional density ratios, drawn from the top layer down.  It reads only u of `Latents`."""

    Config = NcpSettings
    settings: NcpSettings

    def __init__(self, settings: NcpSettings, space: LatentSpace) -> None:
        super().__init__(settings, space)
        self.energy_input = settings.energy_input
        # With context each layer has a normaliser that depends on the layers above, and log_ratio leaves it out.
        self.draws_follow_log_ratio = settings.context == "none" or len(space.layout) == 1
        self.energy = ConditionalEnergy(settings.energy, space, settings.context, settings.context_channels)
        self.labels = PrefixHeads(settings.labels, space.layout, zero=True)

    @property
    def classifiers(self) -> nn.ModuleList:
        """The network of each layer."""
        return self.energy.nets

    def layer_logits(self, layer: int, descent: Descent, stages: int | None = None) -> LayerLogits:
        """Those of candidates u_i (B, N, *shape_i) under what the descent has taken, (B, N), within the bound."""
        logits, bound = self.energy.at(layer, descent), self.settings.bound

        def bounded(u: Tensor) -> Tensor:
            # Log densities are added up in single precision or better, also where the networks run in half.
            found = logits(u)
            found = found.to(torch.promote_types(found.dtype, torch.float32))
            return found if bound is None else bound * torch.tanh(found / bound)

        return bounded

    def layer_log_ratio(self, u: Tensor) -> Tensor:
        """`conditional_log_ratio`."""
        return self.conditional_log_ratio(u)

    def log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """Sum over layers of `layer_log_ratio`, (B, D) -> (B,).

        Draws have the log ratio sum_i (log r_i - log Z_i(u_<i)).  With one layer, or without context, the Z_i are constants;
        else `log_prob` is the density of draws only as far as the classifiers have come to their optimum, where Z_i = 1.
        """
        return u.new_zeros(len(u)) if stages == 0 else self.layer_log_ratio(u).sum(1)

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
        """n points, layer by layer; `chains` has one for each layer that is not fixed, with states that are whole."""
        return self.draw_top_down(
            n, sampler=sampler, generator=generator, keep_every=keep_every, stages=stages, condition=condition
        )

    def tuned(self, sampler: Sampler, *, stages: int | None = None, generator: Generator | None = None) -> Sampler:
        """The sampler with a step size for each layer, where layers are drawn by chains."""
        if self.settings.sampling == "sir":
            return sampler
        return super().tuned(sampler, stages=stages, generator=generator)

    def draw_layer(
        self,
        layer: int,
        descent: Descent,
        u: Tensor,
        run: LayerRun,
        stages: int | None = None,
        labels: Mapping[str, Tensor] | None = None,
    ) -> Chain:
        """One of `proposals` draws of N(0, I) for the layer, or the end of a chain."""
        if self.settings.sampling == "langevin":
            return super().draw_layer(layer, descent, u, run, stages, labels)
        start, own = self.layout.split(u)[layer], self.settings
        weight = self.layer_logits(layer, descent, stages)
        found = resample(weight, start, own.proposals, chunk=own.chunk, generator=run.generator)
        state = found.u.flatten(1)
        figures = {
            "effective_sample_size": found.effective_sample_size,
            "energy": found.log_weight - state.square().sum(1) / 2,
            "finite": found.finite,
        }
        diagnostics = {name: value.float().mean()[None] for name, value in figures.items()}
        kept = torch.stack([start.flatten(1), state]) if run.keep_every else None
        return Chain(state, diagnostics, kept, own.proposals)

    def objectives(self) -> list[Objective]:
        """The sum of all layers' cross-entropies."""
        return [Objective("nce", list(self.parameters()), self.settings.optimiser, self._loss)]

    def _loss(self, batch: Latents, step: Step) -> Loss:
        u = batch.u
        logits = self.conditional_logits(u, torch.stack([u, self._noise(u, step.generator)], dim=1))
        layers = _cross_entropy(logits)
        metrics = {
            "positive": logits[:, 0].sum(1).mean().detach(),
            "negative": logits[:, 1].sum(1).mean().detach(),
            "chance": layers.new_tensor(2 * log(2) * len(layers)),
            "layer": layers.detach(),
        }
        value = layers.sum()
        if self.settings.labels:
            metrics["label_loss"] = (label_loss := self.labels.loss(self.inputs(batch), batch.labels)).detach()
            value = value + label_loss
        return Loss(value, metrics)

    def end_stage(self, stage: int, context: StageContext) -> dict[str, float]:
        """Loss and AUC of each layer's classifier on held-out points."""
        if not len(context.heldout):
            return {}
        u = context.heldout.u
        noise = self._noise(u, context.streams.generator("ncp.heldout", device=u.device))
        pairs = torch.stack([u, noise], dim=1)
        with torch.no_grad():
            logits = torch.cat([self.conditional_logits(pair[:, 0], pair) for pair in torch.split(pairs, CHUNK)])
        losses, areas = _cross_entropy(logits), _auc(logits)
        figures = {"heldout_loss": losses.sum().item()}
        for i, (loss, area) in enumerate(zip(losses.tolist(), areas.tolist(), strict=True)):
            figures |= {f"heldout_loss_layer_{i}": loss, f"heldout_auc_layer_{i}": area}
        return figures

    def _noise(self, like: Tensor, generator: Generator | None) -> Tensor:
        """N(0, I) in the shape of points (B, D)."""
        return torch.empty_like(like).normal_(generator=generator)


def _cross_entropy(logits: Tensor) -> Tensor:
    """Of positives logits[:, 0] and negatives logits[:, 1], (B, 2, L) -> (L,), in nats; 2 log 2 where nothing is known."""
    return softplus(-logits[:, 0]).mean(0) + softplus(logits[:, 1]).mean(0)


def _auc(logits: Tensor) -> Tensor:
    """Probability that a positive scores above a negative, ties counted half: (B, 2, L) -> (L,)."""
    positive, negative = logits[:, 0].T.contiguous(), logits[:, 1].T.contiguous().sort(1).values
    below = [torch.searchsorted(negative, positive, right=right).double().mean(1) for right in (False, True)]
    return (below[0] + below[1]) / (2 * negative.shape[1])
