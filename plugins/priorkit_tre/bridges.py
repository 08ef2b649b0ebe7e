r"""The densities at the waymarks, and chains down them.

.. math:: \log p_k(u) = \sum_{j \ge k} \ell_j(u) + \log b(u), \qquad \ell_j \approx \log p_j / p_{j+1},

up to a constant, with b = N(0, I) or another base.  Every intermediate density is known, so each can be sampled with the
Metropolis correction.
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Generator, Tensor

from priorkit.core import Chain, Condition, Draw, LatentSpace, PerLayerSampler, Sampler, Sampling, TiltedNormal
from priorkit.energies import LabelHeads, LabelledPrior, RatioPrior, bounded
from priorkit_tre.network import bridge_energy
from priorkit_tre.sampling import sampler_at, steps_at
from priorkit_tre.settings import TreSettings
from priorkit_tre.waymarks import Waymarks

__all__ = ["BridgeDensities"]

PILOTS = 200
"""Chains of the pilot run that chooses step sizes."""


class BridgeDensities(RatioPrior, LabelledPrior):
    """The log ratios of all bridges as they stand; how they are learnt is not known here."""

    settings: TreSettings
    labels: LabelHeads

    def __init__(self, settings: TreSettings, space: LatentSpace) -> None:
        super().__init__(settings, space)
        self.waymarks = Waymarks.of(settings.waymarks, settings.spacing, settings.power)
        separable = settings.energy.separable(space.layout)
        self.by_layer = settings.logit_per_layer(separable)
        self.net = bridge_energy(settings.energy, space.layout, settings.waymarks)
        self.labels = LabelHeads(settings.labels, space.layout, zero=True)
        # In each of several classifiers the heads' term, which is of all of u, would be counted once per layer.
        self.counts_labels = bool(settings.labels) and not (self.by_layer and len(space.layout) > 1)
        self.decomposes = separable and (not self.counts_labels or self.labels.within_one_layer)
        self.hold_base_prior()

    def logits(self, u: Tensor) -> Tensor:
        """Return the log ratios of the bridges at u (B, D), within the bound: (B, 1, K) or (B, L, K)."""
        logits: Tensor = self.net(u)
        if self.counts_labels:
            # The labels are those of the data: their term is of the first bridge.
            share = self.labels.evidence(u)[:, None, None] / logits.shape[1]
            logits = torch.cat([logits[:, :, :1] + share, logits[:, :, 1:]], dim=2)
        return bounded(logits, self.settings.bound)

    def ratio_term(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """Return the sum of the bridges' log ratios, (B, D) -> (B,)."""
        return u.new_zeros(len(u)) if self.is_base(stages) else self._bridges_from(0, u)

    def layer_ratio_terms(self, u: Tensor, *, stages: int | None = None) -> Tensor | None:
        """(B, D) -> (B, L) for energies with one network per layer, else None; None also where labels of all layers are part
        of log r."""
        if not self.decomposes:
            return None
        return u.new_zeros(len(u), len(self.layout)) if self.is_base(stages) else self.logits(u).sum(2)

    def waymark_log_ratio(self, k: int, u: Tensor) -> Tensor:
        """Return log p_k(u) - log N(u; 0, I) up to a constant, (B, D) -> (B,)."""
        value = self._bridges_from(k, u)
        return value if self.base_prior is None else value + self.base_prior.log_ratio(u)

    def _bridges_from(self, k: int, u: Tensor) -> Tensor:
        """Return the sum of the log ratios of bridge k and those after it, (B, D) -> (B,)."""
        return self.logits(u)[:, :, k:].sum((1, 2))

    @torch.inference_mode(False)
    @torch.no_grad()
    def draw(self, n: int, sampling: Sampling) -> Draw:
        """Return n points, by a chain on each intermediate density from the base down to the data.

        The sampler's steps are spread over the waymarks.  Fixed columns are mixed with noise as the waymarks are; labels are
        asked at all of them.
        """
        if self.is_base(sampling.stages):
            return super().draw(n, sampling)
        noise = self.base_draw(n, replace(sampling, condition=None))
        if sampling.labels:
            self.label_log_prob(noise, sampling.labels)  # unknown ones are refused
        u, chains = noise, list[Chain]()
        for k, steps in steps_at(sampling.sampler, self.waymarks.bridges).items():
            sampler, asked = sampler_at(sampling.sampler, k, steps), self._asked(k, noise, sampling.condition)
            own, ratio = replace(sampling, sampler=sampler, condition=asked), partial(self.waymark_log_ratio, k)
            # Labels choose the first start only; without them the chain itself knows whether a choice helps.
            chosen = not chains or not sampling.labels
            chains.append(self.chain(own.fix(u), own, choose_start=chosen, ratio=ratio))
            u = chains[-1].u
        return Draw(u, chains)

    def _asked(self, k: int, noise: Tensor, condition: Condition | None) -> Condition | None:
        """What is asked at waymark k."""
        if condition is None or condition.top is None or k == 0:
            return condition
        return replace(condition, top=self.waymarks.at(k, condition.top.to(noise), noise[:, : condition.fixed]))

    def tuned(self, sampler: Sampler, *, stages: int | None = None, generator: Generator | None = None) -> Sampler:
        """Return the sampler with a step size for each waymark, chosen on a pilot run of `PILOTS` chains down them."""
        if self.is_base(stages) or type(sampler).tuned is Sampler.tuned:
            return super().tuned(sampler, stages=stages, generator=generator)
        start = Sampling(sampler, generator)
        u, found = self.base_draw(PILOTS, start), dict[int, Sampler]()
        for k, steps in steps_at(sampler, self.waymarks.bridges).items():
            density = TiltedNormal(partial(self.waymark_log_ratio, k), self.base_density(start))
            found[k] = sampler.tuned(density, u, generator=generator)
            u = sampler_at(found[k], k, steps).run(density, u, generator=generator).u
        return PerLayerSampler([found.get(k, sampler) for k in range(self.waymarks.bridges)])
