r"""Hamiltonian Monte Carlo: a chain that keeps its direction for several gradients before it is corrected.

With a fresh momentum :math:`v \sim N(0, I)` the energy :math:`H(u, v) = -\log p(u) + |v|^2 / 2` is followed for L leapfrog
steps of time :math:`\tau`, and the end is accepted with probability :math:`\min(1, e^{H - H'})` (Neal 2011, "MCMC using
Hamiltonian dynamics", section 5.3.2).  The step size is :math:`s = \tau^2`: a leapfrog step moves u by
:math:`\frac{s}{2} \nabla \log p + \sqrt{s}\, v`, so L = 1 is `Mala` with the same s.
"""

from functools import partial
from typing import Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Generator, Tensor

from priorkit.core import Chain, LogProb, Sampler, Settings
from priorkit.mcmc import ChainRecorder, State, accept, by_acceptance, drift, integrate, metropolis_chain, state_at

__all__ = ["Hmc", "HmcSettings"]


class HmcSettings(Settings):
    """Hamiltonian Monte Carlo."""

    steps: PositiveInt = 8
    """Steps of a chain; each draws a momentum, follows it, and accepts or refuses the end."""
    leapfrog_steps: PositiveInt = 5
    """L, leapfrog steps in each; a leapfrog step costs one gradient."""
    step_size: PositiveFloat = 0.2
    """s, the square of a leapfrog step's time, so that L = 1 is mala with this s; the pilot run's first guess where the step
    size is chosen."""
    choose: Literal["fixed", "acceptance"] = "acceptance"
    """Keep step_size, or choose it on a pilot run by the acceptance."""
    target: float = Field(default=0.8, gt=0, lt=1)
    """Acceptance that the pilot run aims at; 0.6 to 0.9 cost nearly the same (Betancourt et al. 2014)."""
    pilot_steps: PositiveInt = 50
    """Steps of the pilot run."""
    jitter: float = Field(default=0.2, ge=0, lt=1)
    """Each chain's time of a leapfrog step is drawn anew at every step from (1 - jitter, 1 + jitter) times sqrt(s), since a
    fixed time can go round in a circle."""


class Hmc(Sampler):
    """Hamiltonian Monte Carlo with unit masses; a gradient a leapfrog step, since that of the current state is kept.

    Diagnostics of step t: `energy` (log density) and `gradient_norm` of the state that the step leaves, `displacement`
    |u_{t+1} - u_t| / sqrt(D), `acceptance` the mean acceptance probability, `finite` the share of rows whose log
    density and move are finite.  A trajectory that ends at a non-finite density or momentum is never accepted.
    """

    Config = HmcSettings
    settings: HmcSettings

    def __init__(self, settings: HmcSettings) -> None:
        self.settings = settings

    @torch.no_grad()
    def run(self, log_prob: LogProb, start: Tensor, *, generator: Generator | None = None, keep_every: int = 0) -> Chain:
        """Run `steps` steps from start (B, D)."""
        own, u = self.settings, start.detach().clone()
        record = ChainRecorder(u, keep_every)
        step = partial(self._step, log_prob, generator, size=u.new_full((), own.step_size))
        state, _ = metropolis_chain(step, state_at(log_prob, u), own.steps, record)
        return record.chain(state.u, own.steps * own.leapfrog_steps + 1)

    @torch.no_grad()
    def tuned(self, log_prob: LogProb, start: Tensor, *, generator: Generator | None = None) -> "Hmc":
        """This sampler with its step size chosen on a pilot run from start (B, D); itself if the step size is fixed."""
        own = self.settings
        if own.choose == "fixed":
            return self
        size = by_acceptance(
            partial(self._step, log_prob, generator), state_at(log_prob, start.detach().clone()),
            target=own.target, steps=own.pilot_steps, initial=own.step_size,
        )  # fmt: skip
        return Hmc(own.model_copy(update={"step_size": size or own.step_size, "choose": "fixed"}))

    def _step(self, log_prob: LogProb, generator: Generator | None, state: State, size: Tensor) -> tuple[State, Tensor]:
        """The next state and the acceptance probability of each row, (B,)."""
        momentum = torch.empty_like(state.u).normal_(generator=generator)
        time = self._time(state.u, size, generator)
        end, last = integrate(partial(state_at, log_prob), drift(time), time, state, momentum, self.settings.leapfrog_steps)
        kinetic = (momentum.square().sum(1) - last.square().sum(1)) / 2
        return accept(state, end, end.value - state.value + kinetic, generator)

    def _time(self, u: Tensor, size: Tensor, generator: Generator | None) -> Tensor:
        """The time of a leapfrog step for each row, (B, 1), or one for all, ()."""
        jitter = self.settings.jitter
        if not jitter:
            return size.sqrt()
        return size.sqrt() * u.new_empty(len(u), 1).uniform_(1 - jitter, 1 + jitter, generator=generator)
