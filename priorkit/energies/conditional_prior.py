r"""A prior that is a chain of conditionals, sampled from the top layer down.

.. math:: p(u) = \prod_i N(u_i; 0, I)\, e^{\ell_i(u_i; u_{<i})} / Z_i(u_{<i}).

The normalisers :math:`Z_i` are unknown functions of the layers above, 1 if the log ratios :math:`\ell_i` are those of
the data, and are left out of `log_ratio`.  Labels are known from the layers down to each one,
:math:`p(y \mid u_{\le i})`, so that
:math:`p(u_i \mid u_{<i}, y) \propto p(u_i \mid u_{<i})\, p(y \mid u_{\le i})` is sampled in the same way.
"""

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from math import prod
from typing import Literal, cast

import torch
from torch import Generator, Tensor

from priorkit.core import (
    Chain,
    Condition,
    Draw,
    Latents,
    LatentSpace,
    Loss,
    PerLayerSampler,
    Sampler,
    Sampling,
    Settings,
    StageContext,
    TiltedNormal,
    for_rows,
)
from priorkit.energies.conditional import LayerLogits
from priorkit.energies.conditional_base import BaseSettings, ConditionalBase, conditional_base
from priorkit.energies.descent import Descent, context_shapes
from priorkit.energies.labelled import LabelledPrior
from priorkit.energies.labels import LabelHeads
from priorkit.energies.layer_gaussian import LayerGaussian
from priorkit.energies.layer_task import LayerTask, placed
from priorkit.energies.prefix_labels import PrefixHeads
from priorkit.errors import UsageError
from priorkit.runtime.on_host import OnHost

__all__ = ["ConditionalPrior"]

JUDGED = 2_000
"""Number of points evaluated at once."""
WORTH_CORRELATING = 1.0
"""Smallest gain in nats for which a layer with a ratio is correlated."""
CORRELATING = 20_000
"""Number of points from which the base's correlations are computed."""
PILOTS = 200
"""Number of chains of the pilot run that chooses step sizes."""

LogitsAt = Callable[[int, Descent], LayerLogits | None]
"""The logits of the descent's next layer."""


class ConditionalPrior(LabelledPrior):
    """Override `layer_logits`; the log ratio, ancestral sampling and fixed upper layers follow."""

    labels: LabelHeads | PrefixHeads
    layer_input: Literal["u", "z"] = "u"
    beside = frozenset({"moments", "features"})
    base: ConditionalBase | None
    base_kept: Tensor
    """Layers whose Gaussians are used, (L,), a buffer of booleans."""
    _feature_shapes: list[tuple[int, ...]] | None = None

    def __init__(self, settings: Settings, space: LatentSpace) -> None:
        super().__init__(settings, space)
        self.base = None

    @abstractmethod
    def layer_logits(self, layer: int, descent: Descent, stages: int | None = None) -> LayerLogits | None:
        """Return the log ratio of the descent's next layer to `layer_base`, up to a constant per context, after `stages`
        stages of training as in `Prior.draw`; None if it is 0, so that samples of the base are exact."""

    def counted(self, stages: int | None) -> int:
        """Return the number of stages that `stages` refers to, None meaning all."""
        return self.trained_stages if stages is None else stages

    def hold_base(self, settings: BaseSettings) -> None:
        """Let the first stage train the base of the ratios, if the settings and the backbone have one."""
        self.base = conditional_base(settings, self.space)
        if self.base is not None:
            self._kept = OnHost()
            self.register_buffer("base_kept", torch.ones(len(self.layout), dtype=torch.bool))

    @property
    def first_ratio(self) -> int:
        """Return the number of stages before the first ratio."""
        return int(self.base is not None)

    def layer_base(self, layer: int, descent: Descent, stages: int | None = None) -> LayerGaussian | None:
        """Return the Gaussian in the denominator of the layer's ratio; None for N(0, I)."""
        if self.base is None or self.counted(stages) == 0 or not self._kept(self.base_kept)[layer]:
            return None
        return self.base.at(layer, descent)

    def base_gains(self, batch: Latents) -> Tensor:
        """Return `ConditionalBase.gains` at N points of the posterior, (N, L)."""
        return cast(ConditionalBase, self.base).gains(batch, self.descent(len(batch), batch.features))

    def base_loss(self, batch: Latents) -> Loss:
        """Return the loss of the base, by maximum likelihood."""
        gains = self.base_gains(batch).mean(0)
        # On the order of 1 for any number of latents: gradients are clipped.
        return Loss(-gains.sum() / self.layout.dim**0.5, {"gain": gains.sum().detach(), "layer": gains.detach()})

    def end_base(self, context: StageContext, *, ratios: Collection[int], adaptive: bool) -> dict[str, float]:
        """Correlate the base; return its gain on held-out points. With `adaptive` a layer without a gain keeps N(0, I), and
        one whose correlation gains nothing, or less than `WORTH_CORRELATING` if it has a ratio, a diagonal Gaussian."""
        base, heldout = cast(ConditionalBase, self.base).eval(), context.heldout
        diagonal = self._mean_gains(heldout) if len(heldout) else None
        parts = context.positives[:CORRELATING].split(JUDGED)
        shown = context.progress(parts, len(parts), "covariance of each layer")
        base.correlate((part, self.descent(len(part), part.features)) for part in shown)
        if diagonal is None:
            return {}
        gains = self._mean_gains(heldout)
        if adaptive:
            least = torch.tensor([WORTH_CORRELATING if i in ratios else 0.0 for i in range(len(gains))]).to(gains)
            base.correlated.logical_and_(gains > diagonal + least)
            gains = torch.where(base.correlated, gains, diagonal)
            self.base_kept.copy_(gains > 0)
        figures = {"heldout_gain": float(gains.sum())}
        figures |= {f"heldout_gain_layer_{i}": gain for i, gain in enumerate(gains.tolist())}
        return figures | {f"heldout_gain_diagonal_layer_{i}": gain for i, gain in enumerate(diagonal.tolist())}

    @torch.no_grad()
    def _mean_gains(self, points: Latents) -> Tensor:
        return torch.cat([self.base_gains(part) for part in points.split(JUDGED)]).mean(0)

    def descent(self, batch: int, features: Tensor | None = None) -> Descent:
        """Return a new walk for `batch` rows, with the generator's features `Latents.features` if they are known."""
        return Descent(self.space, batch, self.layer_input, self._by_layer(features))

    def _by_layer(self, features: Tensor | None) -> list[Tensor] | None:
        """Split (B, F) into the features' shapes, one entry per layer below the top."""
        if features is None:
            return None
        if self._feature_shapes is None:
            told = context_shapes(self.space, "decoder")
            self._feature_shapes = [shape.parts[0] for shape in told if shape is not None]
        columns = torch.split(features, [prod(shape) for shape in self._feature_shapes], dim=1)
        return [part.reshape(-1, *shape) for part, shape in zip(columns, self._feature_shapes, strict=True)]

    def conditional_logits(
        self, above: Tensor, candidates: Tensor, logits: LogitsAt | None = None, *, features: Tensor | None = None
    ) -> Tensor:
        """Return each layer's log ratio to its base at N candidates for it, under the layers above of one point.

        above (B, D), candidates (B, N, D) -> (B, N, L); `logits` gives other networks than all trained ones.
        """
        descent, found, at = self.descent(len(above), features), list[Tensor](), logits or self.layer_logits
        columns = torch.split(candidates, list(self.layout.sizes), dim=2)
        for i, (taken, column) in enumerate(zip(self.layout.split(above), columns, strict=True)):
            layer = at(i, descent)
            flat = column.new_zeros(column.shape[:2])
            found.append(flat if layer is None else layer(column.reshape(*column.shape[:2], *self.layout.shapes[i])))
            descent.take(taken)
        return torch.stack(found, dim=2)

    def conditional_log_ratio(self, u: Tensor, stages: int | None = None) -> Tensor:
        """Return log r_i(u_i; u_<i) of each layer, (B, D) -> (B, L), that of the base exactly, the rest without log
        Z_i(u_<i): points under one context can be compared exactly, points under two only if their two log Z_i, 0 at the
        optimum, are equal."""
        return self.conditional_logits(u, u[:, None], partial(self._whole_logits, stages=stages))[:, 0]

    def _whole_logits(self, layer: int, descent: Descent, stages: int | None) -> LayerLogits | None:
        """Return the log ratio to N(0, I)."""
        base, logits = self.layer_base(layer, descent, stages), self.layer_logits(layer, descent, stages)
        if base is None:
            return logits

        def whole(u: Tensor) -> Tensor:
            gaussian = torch.stack([base.log_ratio(u[:, k].flatten(1)) for k in range(u.shape[1])], dim=1)
            return gaussian if logits is None else gaussian + logits(u)

        return whole

    def draw(self, n: int, sampling: Sampling) -> Draw:
        """Return n points, layer by layer; `chains` has one per layer that is not fixed, with complete states."""
        condition = sampling.condition
        # The descent's tensors may enter a chain's gradient, which inference tensors cannot.
        with torch.inference_mode(False), torch.no_grad():
            u, fixed = self.standard_normal(n, sampling.generator), 0
            if condition is not None:
                if sampling.labels:
                    self.label_log_prob(u, sampling.labels)  # unknown ones are rejected
                u, fixed = condition.fix(u), self._fixed_layers(condition)
            if sampling.stages == 0 and not sampling.labels:
                return Draw(u)
            descent, chains = self.descent(n), list[Chain]()
            with torch.autocast(u.device.type, enabled=False):
                for i in range(len(self.layout)):
                    if i >= fixed:
                        chains.append(self._whole(self.draw_layer(i, descent, u, sampling), u, i))
                        u = chains[-1].u
                    descent.take(self.layout.split(u)[i])
            return Draw(u, chains)

    def redraw(
        self, u: Tensor, sampling: Sampling, *, features: Tensor | None = None, layers: Collection[int] | None = None
    ) -> Tensor:
        """Return u (B, D) with each layer sampled again given the layers above it in u: one sample of every conditional, (B,
        D).

        `features` are the generator's, as in `Latents`, if they are known. Only `layers` are sampled, None
        for all; the others stay as they are.
        """
        start, drawn = torch.empty_like(u).normal_(generator=sampling.generator), list[Tensor]()
        descent = self.descent(len(u), features)
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(u.device.type, enabled=False):
            for i, taken in enumerate(self.layout.split(u)):
                sampled = layers is None or i in layers
                drawn.append(self.draw_layer(i, descent, start, sampling).u if sampled else taken.flatten(1))
                descent.take(taken)
        return torch.cat(drawn, dim=1)

    def tuned(self, sampler: Sampler, *, stages: int | None = None, generator: Generator | None = None) -> Sampler:
        """Return the sampler with a step size for each layer, chosen in a pilot run of `PILOTS` chains from the top down."""
        if type(sampler).tuned is Sampler.tuned:
            return sampler
        u, samplers = self.standard_normal(PILOTS, generator), list[Sampler]()
        with torch.inference_mode(False), torch.no_grad():
            descent = self.descent(PILOTS)
            for i in range(len(self.layout)):
                task = self.layer_task(i, descent, u, stages, {})
                start = self.layout.columns(u)[i]
                samplers.append(sampler if task.density is None else sampler.tuned(task.density, start, generator=generator))
                u = self._whole(task.run(start, Sampling(samplers[-1], generator)), u, i).u
                descent.take(self.layout.split(u)[i])
        return PerLayerSampler(samplers)

    def draw_layer(self, layer: int, descent: Descent, u: Tensor, sampling: Sampling) -> Chain:
        """Return a sample of the layer's conditional from the noise in its columns of u (n, D), given the descent's
        layers."""
        task = self.layer_task(layer, descent, u, sampling.stages, sampling.labels)
        own = replace(sampling, sampler=sampling.sampler.for_layer(layer))
        return task.run(self.layout.columns(u)[layer], own)

    def layer_task(
        self, layer: int, descent: Descent, u: Tensor, stages: int | None, labels: Mapping[str, Tensor]
    ) -> LayerTask:
        """Return the layer's conditional given the layers above and the labels, in the base's standard coordinates."""
        base, logits = (None, None) if stages == 0 else (
            self.layer_base(layer, descent, stages), self.layer_logits(layer, descent, stages)
        )  # fmt: skip
        shape = self.layout.shapes[layer]

        def log_ratio(v: Tensor) -> Tensor:
            # For a sampler that evaluates several points per chain, the rows of a chain are adjacent.
            state = placed(base, v, len(u))
            value = state.new_zeros(len(state))
            if logits is not None:
                value = logits(state.reshape(len(u), -1, *shape)).flatten()
            if labels:
                asked = {name: for_rows(values, len(state)) for name, values in labels.items()}
                x = self.inputs(self._placed(state, for_rows(u, len(state)), layer))
                value = value + cast(PrefixHeads, self.labels).log_conditional_at(layer, x, asked)
            return value

        exact = logits is None and not labels
        return LayerTask(base, None if exact else TiltedNormal(log_ratio))

    def _whole(self, chain: Chain, u: Tensor, layer: int) -> Chain:
        """Return a chain on the columns of one layer, with the other columns of u (n, D) added to its states."""
        kept = chain.trajectory
        states = None if kept is None else torch.stack([self._placed(state, u, layer) for state in kept])
        return replace(chain, u=self._placed(chain.u, u, layer), trajectory=states)

    def _placed(self, state: Tensor, u: Tensor, layer: int) -> Tensor:
        """Return u (n, D) with the columns of one layer replaced by a state (n, size)."""
        first = self.layout.offsets[layer]
        return torch.cat([u[:, :first], state, u[:, first + self.layout.sizes[layer] :]], dim=1)

    def _fixed_layers(self, condition: Condition) -> int:
        """Return the number of layers that the condition fixes. Raises UsageError if that is not an integer."""
        ends = [0, *self.layout.offsets[1:], self.layout.dim]
        if condition.fixed not in ends:
            raise UsageError(
                f"this prior samples whole layers: the number of fixed top columns must be one of {ends[1:]}, "
                f"got {condition.fixed}."
            )
        return ends.index(condition.fixed)
