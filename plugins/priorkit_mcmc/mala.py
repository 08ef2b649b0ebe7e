r"""Metropolis-adjusted Langevin: the Langevin move as a proposal, accepted so that p is exactly stationary.

With :math:`q(v \mid u) = N(u + \frac{s}{2} \nabla \log p(u),\, s I)` a move is accepted with probability
:math:`\min(1, p(v) q(u \mid v) / p(u) q(v \mid u))` (Roberts & Tweedie 1996; the acceptance 0.574 is optimal for many
coordinates: Roberts & Rosenthal 1998).
"""

from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Generator, Tensor

from priorkit.core import Chain, LogProb, Sampler, Settings
from priorkit.mcmc import (
    ChainRecorder,
    State,
    adjusted_langevin_chain,
    adjusted_langevin_step,
    by_acceptance,
    by_displacement,
    state_at,
)

__all__ = ["Mala", "MalaSettings"]


class MalaSettings(Settings):
    """Metropolis-adjusted Langevin dynamics."""

    steps: PositiveInt = 40
    """Steps of a chain."""
    step_size: PositiveFloat = 0.2
    """s of the proposal; the pilot run's first guess where the step size is chosen."""
    choose: Literal["fixed", "displacement", "acceptance"] = "acceptance"
    """Keep step_size, or choose it on a pilot run by the proposals' displacement or by the acceptance."""
    target: PositiveFloat = 0.574
    """Acceptance (below 1), or root mean square displacement of a coordinate, that the pilot run aims at."""
    pilot_steps: PositiveInt = 100
    """Steps of the pilot run."""


class Mala(Sampler):
    """Metropolis-adjusted Langevin; one gradient a step, since that of the current state is kept.

    Diagnostics of step t: `energy` (log density) and `gradient_norm` of the state that the step leaves, `displacement`
    |u_{t+1} - u_t| / sqrt(D), `acceptance` the mean acceptance probability, `finite` the share of rows whose log
    density and move are finite.  A proposal with a non-finite density or gradient is never accepted.
    """

    Config = MalaSettings
    settings: MalaSettings

    def __init__(self, settings: MalaSettings) -> None:
        self.settings = settings

    @torch.no_grad()
    def run(self, log_prob: LogProb, start: Tensor, *, generator: Generator | None = None, keep_every: int = 0) -> Chain:
        """Run `steps` steps from start (B, D)."""
        own, record = self.settings, ChainRecorder(start.detach(), keep_every)
        size = start.new_full((), own.step_size)
        u, _ = adjusted_langevin_chain(log_prob, start, steps=own.steps, size=size, generator=generator, record=record)
        return record.chain(u, own.steps + 1)

    def tuned(self, log_prob: LogProb, start: Tensor, *, generator: Generator | None = None) -> "Mala":
        """This sampler with its step size chosen on a pilot run from start (B, D); itself if the step size is fixed."""
        own = self.settings
        if own.choose == "fixed":
            return self
        if own.choose == "displacement":
            size = by_displacement(log_prob, start, target=own.target, steps=own.pilot_steps, generator=generator)
        else:
            size = self._by_acceptance(log_prob, start, generator)
        return Mala(own.model_copy(update={"step_size": size or own.step_size, "choose": "fixed"}))

    @torch.no_grad()
    def _by_acceptance(self, log_prob: LogProb, start: Tensor, generator: Generator | None) -> float | None:
        own = self.settings

        def step(state: State, size: Tensor) -> tuple[State, Tensor]:
            return adjusted_langevin_step(log_prob, state, size=size, generator=generator)

        state = state_at(log_prob, start.detach().clone())
        return by_acceptance(step, state, target=own.target, steps=own.pilot_steps, initial=own.step_size)
