r"""A prior that is a chain of conditionals, drawn from the top layer down.

.. math:: p(u) = \prod_i N(u_i; 0, I)\, e^{\ell_i(u_i; u_{<i})} / Z_i(u_{<i}).

The normalisers :math:`Z_i` are unknown functions of the layers above, 1 where the log ratios :math:`\ell_i` are those of
the data, and are left out of `log_ratio`.  Labels are known from the layers down to each one, :math:`p(y \mid u_{\le i})`, so that
:math:`p(u_i \mid u_{<i}, y) \propto p(u_i \mid u_{<i})\, p(y \mid u_{\le i})` is drawn in the same way.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Generator, Tensor

from priorkit.core import Chain, Condition, Draw, PerLayerSampler, Sampler, TiltedNormal, for_rows
from priorkit.energies.conditional import LayerLogits
from priorkit.energies.descent import ContextKind, Descent
from priorkit.energies.labelled import LabelledPrior
from priorkit.energies.prefix_labels import PrefixHeads
from priorkit.errors import UsageError

__all__ = ["ConditionalPrior", "LayerRun"]

PILOTS = 200
"""Chains of the pilot run that chooses step sizes."""


@dataclass(frozen=True)
class LayerRun:
    """How the chain of one layer is run."""

    sampler: Sampler
    generator: Generator | None
    keep_every: int = 0


class ConditionalPrior(LabelledPrior):
    """Override `layer_logits`; the log ratio, ancestral draws and fixed upper layers follow."""

    context: ContextKind = "none"
    """What the network of a layer is told of the layers above."""
    labels: PrefixHeads
    energy_input: Literal["u", "z"] = "u"

    @abstractmethod
    def layer_logits(self, layer: int, descent: Descent, stages: int | None = None) -> LayerLogits | None:
        """The log ratio of the layer that the descent stands before, up to a constant of each context, after `stages` stages
        of training as in `Prior.draw`; None where it is 0, so that draws of N(0, I) are exact."""

    def descent(self, batch: int) -> Descent:
        """A new walk for `batch` rows."""
        return Descent(self.space, batch, self.context, self.energy_input)

    def conditional_logits(
        self, above: Tensor, candidates: Tensor, logits: Callable[[int, Descent], LayerLogits | None] | None = None
    ) -> Tensor:
        """Each layer's log ratio at N candidates for it, under the layers above of one point.

        above (B, D), candidates (B, N, D) -> (B, N, L); `logits` gives other networks than all that are trained.
        """
        descent, found, at = self.descent(len(above)), list[Tensor](), logits or self.layer_logits
        columns = torch.split(candidates, list(self.layout.sizes), dim=2)
        for i, (taken, column) in enumerate(zip(self.layout.split(above), columns, strict=True)):
            layer = at(i, descent)
            flat = column.new_zeros(column.shape[:2])
            found.append(flat if layer is None else layer(column.reshape(*column.shape[:2], *self.layout.shapes[i])))
            descent.take(taken)
        return torch.stack(found, dim=2)

    def conditional_log_ratio(self, u: Tensor, stages: int | None = None) -> Tensor:
        """log r_i(u_i; u_<i) of each layer without log Z_i(u_<i), (B, D) -> (B, L): points under one context compare exactly,
        points under two only as far as their two log Z_i, 0 at the optimum, are the same."""
        return self.conditional_logits(u, u[:, None], partial(self.layer_logits, stages=stages))[:, 0]

    def draw_top_down(
        self,
        n: int,
        *,
        sampler: Sampler,
        generator: Generator | None = None,
        keep_every: int = 0,
        stages: int | None = None,
        condition: Condition | None = None,
    ) -> Draw:
        """`Prior.draw`, layer by layer; `chains` has one for each layer that is not fixed, with states that are whole."""
        # What the descent computes may enter a chain's gradient, which tensors of inference mode cannot.
        with torch.inference_mode(False), torch.no_grad():
            u, fixed, labels = self.standard_normal(n, generator), 0, dict(condition.labels if condition else {})
            if condition is not None:
                if labels:
                    self.label_log_prob(u, labels)  # unknown ones are refused
                u, fixed = condition.fix(u), self._fixed_layers(condition)
            if stages == 0 and not labels:
                return Draw(u)
            descent, chains = self.descent(n), list[Chain]()
            with torch.autocast(u.device.type, enabled=False):
                for i in range(len(self.layout)):
                    if i >= fixed:
                        run = LayerRun(sampler.for_layer(i), generator, keep_every)
                        chains.append(self._whole(self.draw_layer(i, descent, u, run, stages, labels), u, i))
                        u = chains[-1].u
                    descent.take(self.layout.split(u)[i])
            return Draw(u, chains)

    def redraw(self, u: Tensor, *, sampler: Sampler, generator: Generator | None, stages: int | None = None) -> Tensor:
        """Each layer of u (B, D) drawn anew under the layers above it in u, (B, D): one draw of every conditional."""
        start, descent, drawn = torch.empty_like(u).normal_(generator=generator), self.descent(len(u)), list[Tensor]()
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(u.device.type, enabled=False):
            for i, taken in enumerate(self.layout.split(u)):
                run = LayerRun(sampler.for_layer(i), generator)
                drawn.append(self.draw_layer(i, descent, start, run, stages).u)
                descent.take(taken)
        return torch.cat(drawn, dim=1)

    def tuned(self, sampler: Sampler, *, stages: int | None = None, generator: Generator | None = None) -> Sampler:
        """The sampler with a step size for each layer, chosen on a pilot run of `PILOTS` chains from the top down."""
        if type(sampler).tuned is Sampler.tuned:
            return sampler
        u, samplers = self.standard_normal(PILOTS, generator), list[Sampler]()
        with torch.inference_mode(False), torch.no_grad():
            descent = self.descent(PILOTS)
            for i in range(len(self.layout)):
                density, start = self._density(i, descent, u, stages, {}), self.layout.columns(u)[i]
                samplers.append(sampler if density is None else sampler.tuned(density, start, generator=generator))
                u = self._whole(self.draw_layer(i, descent, u, LayerRun(samplers[-1], generator), stages), u, i).u
                descent.take(self.layout.split(u)[i])
        return PerLayerSampler(samplers)

    def draw_layer(
        self,
        layer: int,
        descent: Descent,
        u: Tensor,
        run: "LayerRun",
        stages: int | None = None,
        labels: Mapping[str, Tensor] | None = None,
    ) -> Chain:
        """The end of a chain on the layer's conditional from its columns of u (n, D), under what the descent has taken."""
        start, density = self.layout.columns(u)[layer], self._density(layer, descent, u, stages, labels or {})
        if density is None:
            return Chain(start, trajectory=torch.stack([start, start]) if run.keep_every else None)
        return run.sampler.run(density, start, generator=run.generator, keep_every=run.keep_every)

    def _density(
        self, layer: int, descent: Descent, u: Tensor, stages: int | None, labels: Mapping[str, Tensor]
    ) -> TiltedNormal | None:
        """That of a layer given those above it, and of the labels given both; None for N(0, I)."""
        logits = None if stages == 0 else self.layer_logits(layer, descent, stages)
        shape = self.layout.shapes[layer]
        if logits is None and not labels:
            return None

        def log_ratio(state: Tensor) -> Tensor:
            # Of a sampler that weighs several points for each chain the rows of a chain stand together.
            value = state.new_zeros(len(state))
            if logits is not None:
                value = logits(state.reshape(len(u), -1, *shape)).flatten()
            if labels:
                asked = {name: for_rows(values, len(state)) for name, values in labels.items()}
                x = self.inputs(self._placed(state, for_rows(u, len(state)), layer))
                value = value + self.labels.log_conditional_at(layer, x, asked)
            return value

        return TiltedNormal(log_ratio)

    def _whole(self, chain: Chain, u: Tensor, layer: int) -> Chain:
        """A chain on the columns of one layer, with the other columns of u (n, D) around its states."""
        kept = chain.trajectory
        states = None if kept is None else torch.stack([self._placed(state, u, layer) for state in kept])
        return replace(chain, u=self._placed(chain.u, u, layer), trajectory=states)

    def _placed(self, state: Tensor, u: Tensor, layer: int) -> Tensor:
        """u (n, D) with the columns of one layer replaced by a state (n, size)."""
        first = self.layout.offsets[layer]
        return torch.cat([u[:, :first], state, u[:, first + self.layout.sizes[layer] :]], dim=1)

    def _fixed_layers(self, condition: Condition) -> int:
        """How many layers the condition fixes.  Raises UsageError where that is not a whole number."""
        ends = [0, *self.layout.offsets[1:], self.layout.dim]
        if condition.fixed not in ends:
            raise UsageError(
                f"this prior draws whole layers: of the top, {ends[1:]} columns can be fixed, not {condition.fixed}."
            )
        return ends.index(condition.fixed)
