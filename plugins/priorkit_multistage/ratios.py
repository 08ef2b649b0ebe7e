r"""The product of the stages' density ratios, :math:`p_m(u) \propto b(u) \prod_{k \le m} r_k(u)`, and its samples.

The base b is N(0, I) unless the settings name another prior.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Generator, Tensor, nn

from priorkit.core import Draw, Latents, LatentSpace, Prior, Sampler, Sampling
from priorkit.energies import (
    ConditionalEnergy,
    ConditionalPrior,
    Descent,
    LabelHeads,
    LayerLogits,
    PrefixHeads,
    RatioPrior,
    bounded,
    build_energy,
    layers_for_ratios,
)
from priorkit.runtime.on_host import OnHost
from priorkit_multistage.settings import MultistageSettings

__all__ = ["RatioProduct"]


class RatioProduct(RatioPrior, ConditionalPrior):
    """The ratios of M stages, independent of their training."""

    settings: MultistageSettings
    active: Tensor
    """Number of stages that count, a scalar buffer: fewer than M while training, or after an early stop."""
    stopped: Tensor
    """True after an adaptive run has found a stage with nothing left to learn, a scalar buffer."""
    trust: Tensor
    """The factor of each classifier's logit, between 0 and 1, (M, 1) or, with one per layer, (M, L), a buffer."""

    def __init__(self, settings: MultistageSettings, space: LatentSpace) -> None:
        super().__init__(settings, space)
        coupling = settings.energy.coupling_on(space.layout, conditional=True)
        settings.check_base(coupling)
        self.conditional, self.separable = coupling == "conditional", coupling == "separable"
        self.by_layer = settings.logit_per_layer(coupling)
        self.bound = settings.logit_bound(self.by_layer)
        self.layer_input = settings.energy_input
        self.chosen = layers_for_ratios(space.layout, settings.layers)
        if self.conditional:
            self.hold_base(settings.base)
        else:
            self.energy_input, self.beside = settings.energy_input, frozenset()
        ratios = settings.ratios(self.base is not None)
        # Long chains on the last ratio alone end in its density and not in that of the product.
        self.draws_follow_log_ratio = settings.sampling != "stagewise" or ratios == 1
        if self.conditional:  # each layer has a normaliser that depends on the layers above, which log_ratio leaves out
            self.draws_follow_log_ratio = len(space.layout) == 1
        self.stages = self.first_ratio + ratios
        self.energies = nn.ModuleList(self._network() for _ in range(ratios))
        heads = PrefixHeads if self.conditional else LabelHeads
        self.labels = heads(settings.labels, space.layout, zero=True)
        # In each of several classifiers the heads' term, a function of all of u, would be counted once per layer.
        self.counts_labels = bool(settings.labels) and not (self.by_layer and len(space.layout) > 1) and not self.conditional
        one = isinstance(self.labels, LabelHeads) and self.labels.within_one_layer
        self.decomposes = self.conditional or (self.separable and (not self.counts_labels or one))
        self._active, self._trust = OnHost(), OnHost()
        self.register_buffer("active", torch.zeros((), dtype=torch.int64))
        self.register_buffer("stopped", torch.zeros((), dtype=torch.bool))
        classifiers = len(space.layout) if self.by_layer else 1
        self.register_buffer("trust", torch.ones(ratios, classifiers))
        if self.conditional:
            self.trust[:, [i for i in range(classifiers) if i not in self.chosen]] = 0
        self.hold_base_prior()

    @property
    def first_ratio(self) -> int:
        """The number of stages before the first ratio."""
        return self.base_stages or super().first_ratio

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load as in every module; runs from before 0.1.0 have no `trust`, which keeps its initial value."""
        return super().load_state_dict({"trust": self.trust, **state_dict}, strict, assign)

    def _network(self) -> nn.Module:
        """Return the energies of one stage, initially 0."""
        own = self.settings
        if self.conditional:
            return ConditionalEnergy(own.energy, self.space, own.context, own.context_channels, self.chosen)
        return build_energy(own.energy, self.layout, zero=True)

    def logits(self, x: Tensor, stages: Sequence[int]) -> Tensor:
        """Return the logits of each of the given stages (from 0) at the energies' input x (B, D), not for conditional
        energies: (stages, B, 1) or (stages, B, L)."""
        return torch.stack([self._stage_logits(x, stage) for stage in stages])

    def _stage_logits(self, x: Tensor, stage: int) -> Tensor:
        """Return one stage's logits, within the bound: (B, 1) or (B, L)."""
        logits = cast(Tensor, self.energies[stage](x))
        if stage == 0 and self.counts_labels:
            logits = logits + cast(LabelHeads, self.labels).evidence(x)[:, None] / logits.shape[1]
        return bounded(logits, self.bound)

    def layer_logits(self, layer: int, descent: Descent, stages: int | None = None) -> LayerLogits | None:
        """Return, for conditional energies, the sum over the stages that count for the layer."""
        counted = self._trust(self.trust)[: max(0, self.counted(stages) - self.first_ratio)]
        trust = [factors[layer] for factors in counted]
        terms = [(factor, self._at(layer, descent, ratio)) for ratio, factor in enumerate(trust) if factor]
        return (lambda u: torch.stack([factor * term(u) for factor, term in terms]).sum(0)) if terms else None

    def _at(self, layer: int, descent: Descent, stage: int) -> LayerLogits:
        """Return one stage's conditional logits of a layer, within the bound."""
        logits = cast(ConditionalEnergy, self.energies[stage]).at(layer, descent)
        return lambda u: bounded(logits(u), self.bound)

    @property
    def trained_stages(self) -> int:
        """The number of stages that count."""
        return int(self._active(self.active))

    def ratio_term(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """Return the sum of the log ratios of the first `stages` stages (default: all trained ones), (B, D) -> (B,). For
        conditional energies without the normalisers, functions of the layers above that are 1 at the optimum."""
        return self._terms(u, stages).sum(1)

    def layer_ratio_terms(self, u: Tensor, *, stages: int | None = None) -> Tensor | None:
        """Return (B, D) -> (B, L) for energies with one network per layer, else None; also None if labels of all layers are
        part of log r."""
        return self._terms(u, stages) if self.decomposes else None

    def _terms(self, u: Tensor, stages: int | None) -> Tensor:
        """Return the terms of the log ratio, (B, 1) or (B, L)."""
        count = max(0, self.counted(stages) - self.base_stages)
        if count == 0:
            return u.new_zeros(len(u), len(self.layout) if self.separable or self.conditional else 1)
        if self.conditional:
            return self.conditional_log_ratio(u, stages)
        return (self.logits(self.inputs(u), range(count)) * self.trust[:count, None]).sum(0)

    def draw(self, n: int, sampling: Sampling) -> Draw:
        """Return n points of p_m after `sampling.stages` stages (default: all), by one chain from the base or by one per
        ratio; for conditional energies layer by layer from the top."""
        last, mode = self.counted(sampling.stages), self.settings.sampling
        if self.conditional:
            return super().draw(n, replace(sampling, stages=last))
        first = last if mode == "joint" else min(last, 1 + self.base_stages)
        drawn = Prior.draw(self, n, replace(sampling, stages=first))
        u, chains = drawn.u, list(drawn.chains)
        for stage in range(first + 1, last + 1):
            ratio = partial(self._own_log_ratio, stage) if mode == "stagewise" else None
            chains.append(self.chain(u, replace(sampling, stages=stage), choose_start=False, ratio=ratio))
            u = chains[-1].u
        return Draw(u, chains)

    def tuned(self, sampler: Sampler, *, stages: int | None = None, generator: Generator | None = None) -> Sampler:
        """Return the sampler with its step size, or one for each layer, chosen in a pilot run."""
        if self.conditional:
            return super().tuned(sampler, stages=stages, generator=generator)
        return Prior.tuned(self, sampler, stages=stages, generator=generator)

    def _own_log_ratio(self, stage: int, u: Tensor) -> Tensor:
        """Return log r of one stage (from 1) on the base, (B, D) -> (B,)."""
        ratio = stage - 1 - self.first_ratio
        value, base = (self.logits(self.inputs(u), [ratio])[0] * self.trust[ratio]).sum(1), self.base_prior
        return value if base is None else value + base.log_ratio(u)

    def counted(self, stages: int | None) -> int:
        """Return the number of stages that `stages` refers to; a rejected one never counts."""
        return self.trained_stages if stages is None else min(stages, self.trained_stages)

    def conditional_pair(self, stage: int, above: Latents, positives: Tensor, negatives: Tensor) -> Tensor:
        """Return the logits of stage `stage` (from 1) at positives and negatives (B, D), each layer given those of `above`
        over it: (B, 2, L).

        A layer whose previous ratio had nothing to learn is skipped.
        """
        ratio = stage - 1 - self.first_ratio
        known = self._trust(self.trust)[ratio - 1] if ratio else [i in self.chosen for i in range(len(self.layout))]

        def at(layer: int, descent: Descent) -> LayerLogits | None:
            return self._at(layer, descent, ratio) if known[layer] else None

        candidates = torch.stack([positives, negatives], dim=1)
        return self.conditional_logits(above.u, candidates, at, features=above.features)
