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

from dataclasses import replace
from functools import partial
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
    Prior,
    Sampler,
    StageContext,
    Step,
    TiltedNormal,
)
from priorkit.errors import UsageError
from priorkit_ncp.classifiers import layer_classifier
from priorkit_ncp.descent import Descent, context_shapes
from priorkit_ncp.resampling import resample
from priorkit_ncp.settings import NcpSettings

__all__ = ["NcpPrior"]

CHUNK = 2_000
"""Held-out points judged at once."""


class NcpPrior(Prior):
    """A chain of conditional density ratios, drawn from the top layer down.  It reads only u of `Latents`."""

    Config = NcpSettings
    settings: NcpSettings

    def __init__(self, settings: NcpSettings, space: LatentSpace) -> None:
        super().__init__(settings, space)
        # With context each layer has a normaliser that depends on the layers above, and log_ratio leaves it out.
        self.draws_follow_log_ratio = settings.context == "none" or len(space.layout) == 1
        contexts = context_shapes(space, settings.context)
        self.classifiers = nn.ModuleList(
            layer_classifier(shape, context, settings.energy, settings.context_channels)
            for shape, context in zip(space.layout.shapes, contexts, strict=True)
        )

    def logits(self, above: Tensor, candidates: Tensor) -> Tensor:
        """Each layer's logit at N candidates for it, under the layers above of one point.

        above (B, D), candidates (B, N, D) -> (B, N, L).
        """
        descent = self._descent(len(above))
        columns = torch.split(candidates, list(self.layout.sizes), dim=2)
        logits = []
        for i, (taken, column) in enumerate(zip(self.layout.split(above), columns, strict=True)):
            logits.append(self._layer_logits(i, descent, column.reshape(*column.shape[:2], *self.layout.shapes[i])))
            descent.take(taken)
        return torch.stack(logits, dim=2)

    def _layer_logits(self, layer: int, descent: Descent, u: Tensor) -> Tensor:
        """Those of candidates u_i (B, N, *shape_i) under what the descent has taken, (B, N), within the bound."""
        logits: Tensor = self.classifiers[layer](descent.read(u), descent.context())
        # Log densities are added up in single precision or better, also where the networks run in half.
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        bound = self.settings.bound
        return logits if bound is None else bound * torch.tanh(logits / bound)

    def _descent(self, batch: int) -> Descent:
        return Descent(self.space, batch, self.settings.context, self.settings.energy_input)

    def layer_log_ratio(self, u: Tensor) -> Tensor:
        """log r_i(u_i; u_<i) of each layer, (B, D) -> (B, L), without log Z_i(u_<i): points under one context compare
        exactly, points under two only as far as the two log Z_i, 0 at the optimum, are the same."""
        return self.logits(u, u[:, None])[:, 0]

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
        # What the descent computes may enter a chain's gradient, which tensors of inference mode cannot.
        with torch.inference_mode(False), torch.no_grad():
            u = self.standard_normal(n, generator)
            fixed = 0
            if condition is not None:
                if condition.labels:
                    self.label_log_prob(u, condition.labels)
                u, fixed = condition.fix(u), self._fixed_layers(condition)
            if stages == 0:
                return Draw(u)
            with torch.autocast(u.device.type, enabled=False):
                return self._descend(u, fixed, sampler, generator, keep_every)

    def _descend(self, u: Tensor, fixed: int, sampler: Sampler, generator: Generator | None, keep_every: int) -> Draw:
        """Draw all layers from number `fixed` on, from the noise u (n, D)."""
        descent, chains = self._descent(len(u)), list[Chain]()
        for i in range(len(self.layout)):
            if i >= fixed:
                by = self._resampled if self.settings.sampling == "sir" else partial(self._sampled, sampler)
                chains.append(self._whole(by(i, descent, u, generator, keep_every), u, i))
                u = chains[-1].u
            descent.take(self.layout.split(u)[i])
        return Draw(u, chains)

    def _resampled(self, layer: int, descent: Descent, u: Tensor, generator: Generator | None, keep_every: int) -> Chain:
        """One of `proposals` draws of N(0, I) for the layer."""
        start = self.layout.split(u)[layer]
        weight, own = partial(self._layer_logits, layer, descent), self.settings
        found = resample(weight, start, own.proposals, chunk=own.chunk, generator=generator)
        state = found.u.flatten(1)
        figures = {
            "effective_sample_size": found.effective_sample_size,
            "energy": found.log_weight - state.square().sum(1) / 2,
            "finite": found.finite,
        }
        diagnostics = {name: value.float().mean()[None] for name, value in figures.items()}
        kept = torch.stack([start.flatten(1), state]) if keep_every else None
        return Chain(state, diagnostics, kept, own.proposals)

    def _sampled(
        self, sampler: Sampler, layer: int, descent: Descent, u: Tensor, generator: Generator | None, keep_every: int
    ) -> Chain:
        """The end of the sampler's chain on the layer's conditional."""

        def log_ratio(state: Tensor) -> Tensor:
            return self._layer_logits(layer, descent, state.view(len(state), 1, *self.layout.shapes[layer]))[:, 0]

        start = self.layout.columns(u)[layer]
        return sampler.run(TiltedNormal(log_ratio), start, generator=generator, keep_every=keep_every)

    def _whole(self, chain: Chain, u: Tensor, layer: int) -> Chain:
        """A chain on the columns of one layer, with the other columns of u (n, D) around its states."""
        first = self.layout.offsets[layer]
        before, after = u[:, :first], u[:, first + self.layout.sizes[layer] :]
        kept = chain.trajectory
        states = None if kept is None else torch.stack([torch.cat([before, state, after], dim=1) for state in kept])
        return replace(chain, u=torch.cat([before, chain.u, after], dim=1), trajectory=states)

    def _fixed_layers(self, condition: Condition) -> int:
        """How many layers the condition fixes.  Raises UsageError where that is not a whole number."""
        ends = [0, *self.layout.offsets[1:], self.layout.dim]
        if condition.fixed not in ends:
            raise UsageError(
                f"this prior draws whole layers: of the top, {ends[1:]} columns can be fixed, not {condition.fixed}."
            )
        return ends.index(condition.fixed)

    def objectives(self) -> list[Objective]:
        """The sum of all layers' cross-entropies."""
        return [Objective("nce", list(self.parameters()), self.settings.optimiser, self._loss)]

    def _loss(self, batch: Latents, step: Step) -> Loss:
        u = batch.u
        logits = self.logits(u, torch.stack([u, self._noise(u, step.generator)], dim=1))
        layers = _cross_entropy(logits)
        metrics = {
            "positive": logits[:, 0].sum(1).mean().detach(),
            "negative": logits[:, 1].sum(1).mean().detach(),
            "chance": layers.new_tensor(2 * log(2) * len(layers)),
            "layer": layers.detach(),
        }
        return Loss(layers.sum(), metrics)

    def end_stage(self, stage: int, context: StageContext) -> dict[str, float]:
        """Loss and AUC of each layer's classifier on held-out points."""
        if not len(context.heldout):
            return {}
        u = context.heldout.u
        noise = self._noise(u, context.streams.generator("ncp.heldout", device=u.device))
        pairs = torch.stack([u, noise], dim=1)
        with torch.no_grad():
            logits = torch.cat([self.logits(pair[:, 0], pair) for pair in torch.split(pairs, CHUNK)])
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
