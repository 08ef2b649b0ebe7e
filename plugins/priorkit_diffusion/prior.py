r"""Diffusion recovery likelihood in u-space: an energy at each noise level, conditional on the level above.

The data u is noised to u_0 (hardly), u_1, ..., u_T = N(0, I).  Level t learns, with v = u_{t+1},

.. math:: p(u_t \mid v) \propto e^{F(u_t, t)}\, N(u_t; 0, I)\, N(v; a_{t+1} u_t, \sigma_{t+1}^2 I)

by maximum likelihood: the gradient of F(u_t, t) at noised data minus that at samples of p(u_t | v) (paper, eq. 9, 12).
By Bayes' rule F(u, t) - |u|^2 / 2 is then the log density of the noised data u_t up to a constant, so that F(., 0) is
the log ratio of the data at the noise S_0 = 0.01.  Generation starts at u_T ~ N(0, I) and runs a chain per level.
"""

from dataclasses import replace

import torch
from torch import Generator, Tensor

from priorkit.core import (
    Chain,
    Condition,
    Draw,
    Latents,
    LatentSpace,
    Loss,
    Objective,
    Sampler,
    Sampling,
    StageContext,
    Step,
)
from priorkit_diffusion.learning import choose_paces, heldout_losses, recovery_loss
from priorkit_diffusion.levels import LevelDensities
from priorkit_diffusion.schedule import at_level
from priorkit_diffusion.settings import DiffusionSettings

__all__ = ["DiffusionPrior"]


class DiffusionPrior(LevelDensities):
    """Conditional energies from noise to data."""

    Config = DiffusionSettings
    draws_follow_log_ratio = False  # a chain per level, each with a different energy

    def __init__(self, settings: DiffusionSettings, space: LatentSpace) -> None:
        super().__init__(settings, space)
        self.first_signal = float(self.schedule.signal[1])
        self._sampler: Sampler | None = None

    def log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor:
        """Return F(u, 0), (B, D) -> (B,): log r of the data with noise S_0 = 0.01 up to a constant, the paper's score of
        data."""
        return self.energies(u, at_level(u, 0)).sum(1)

    def layer_log_ratio(self, u: Tensor, *, stages: int | None = None) -> Tensor | None:
        """Return the terms of F(u, 0), (B, D) -> (B, L), for separable energies, else None; also None if labels of all
        layers are part of F."""
        return self.energies(u, at_level(u, 0)) if self.separable and self.labels.within_one_layer else None

    @torch.inference_mode(False)
    @torch.no_grad()
    def draw(self, n: int, sampling: Sampling) -> Draw:
        """Return n points, by a chain per level from u_T ~ N(0, I).

        Labels apply to level 0; above it fixed columns follow the forward diffusion from their values.
        """
        v = self.standard_normal(n, sampling.generator)
        asked = self._asked(v, sampling.condition, sampling.generator)
        chains: list[Chain] = []
        with torch.autocast(v.device.type, enabled=False):
            for t in reversed(range(self.schedule.levels)):
                chains.append(self.recover(v, at_level(v, t), replace(sampling, condition=asked[t])))
                v = chains[-1].u
        return Draw(v, chains)

    def _asked(self, v: Tensor, condition: Condition | None, generator: Generator | None) -> list[Condition | None]:
        """Return the condition at each level, (T,)."""
        if condition is None:
            return [None] * self.schedule.levels
        if condition.labels:
            # Unknown labels are rejected before the levels above are sampled in vain.
            self.label_log_prob(v, condition.labels)
        asked, top = [condition], condition.top
        for t in range(self.schedule.levels - 1):
            top = None if top is None else self.schedule.above(top.to(v), at_level(v, t), generator)
            asked.append(Condition(top=top))
        return list(asked)

    def begin_stage(self, stage: int, context: StageContext) -> None:
        """Use the run's sampler for the negatives."""
        self._sampler = context.sampler

    def objectives(self) -> list[Objective]:
        """Return the recovery likelihood of all levels."""
        return [Objective("recovery", list(self.parameters()), self.settings.optimiser, self._loss)]

    def end_stage(self, stage: int, context: StageContext) -> dict[str, float]:
        """Choose the levels' final paces; return each level's loss on held-out points."""
        generator = context.streams.generator("diffusion.end", device=context.positives.u.device)
        known = context.heldout if len(context.heldout) else context.positives
        choose_paces(self, context.sampler, known.u, generator)
        return heldout_losses(self, known.u, context.sampler, generator) if len(context.heldout) else {}

    def _loss(self, batch: Latents, step: Step) -> Loss:
        if self._sampler is None:
            raise RuntimeError("DiffusionPrior: begin_stage was not called before its loss")
        return recovery_loss(self, batch, step, self._sampler)
