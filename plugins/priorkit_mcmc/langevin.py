r"""Unadjusted Langevin: :math:`u \leftarrow u + \frac{s}{2} \nabla \log p(u) + \sqrt{s}\,\epsilon`.

The chain is biased: on N(0, I) its stationary variance is 1 / (1 - s/4), on a Gaussian of precision :math:`\Lambda` it
is :math:`\Lambda^{-1} (I - s \Lambda / 4)^{-1}`.  Halve the step or use `Mala` where that matters.
"""

from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Generator, Tensor

from priorkit.core import Chain, LogProb, Sampler, Settings, TiltedNormal
from priorkit.mcmc import ChainRecorder, by_displacement, langevin_chain, ratio_and_gradient, value_and_gradient
from priorkit_mcmc.counter_noise import Counter
from priorkit_mcmc.fused import fused_step

__all__ = ["Langevin", "LangevinSettings"]


class LangevinSettings(Settings):
    """Unadjusted Langevin dynamics."""

    steps: PositiveInt = 40
    """Steps of a chain."""
    step_size: PositiveFloat = 0.1
    """s: a step moves by s/2 times the gradient and sqrt(s) times noise; papers with sqrt(2 s) mean half of ours."""
    choose: Literal["fixed", "displacement"] = "fixed"
    """Keep step_size, or choose it on a pilot run so that a coordinate moves by `target` a step (root mean square)."""
    target: PositiveFloat = 0.3
    """Displacement of a coordinate in one step that 'displacement' aims at."""
    pilot_steps: PositiveInt = 50
    """Steps of the pilot run."""
    fused: bool = False
    """All of a step but the gradient of log r compiled as one, with other random numbers: quicker chains on small energies.
    Needs a C++ compiler (GPU: Triton), and some seconds at a process's first chain."""


class Langevin(Sampler):
    """Unadjusted Langevin.

    Diagnostics of step t: `energy` (log density) and `gradient_norm` of the state that the step leaves,
    `displacement` |u_{t+1} - u_t| / sqrt(D), `finite` the share of rows whose log density and move are finite.
    """

    Config = LangevinSettings
    settings: LangevinSettings

    def __init__(self, settings: LangevinSettings) -> None:
        self.settings = settings

    @torch.no_grad()
    def run(self, log_prob: LogProb, start: Tensor, *, generator: Generator | None = None, keep_every: int = 0) -> Chain:
        """Run `steps` steps from start (B, D)."""
        own, record = self.settings, ChainRecorder(start.detach(), keep_every)
        if own.fused:
            u = self._fused(log_prob, start.detach().clone(), generator, record)
        else:
            u = langevin_chain(log_prob, start, steps=own.steps, size=own.step_size, generator=generator, record=record)
        return record.chain(u, own.steps)

    def _fused(self, log_prob: LogProb, u: Tensor, generator: Generator | None, record: ChainRecorder) -> Tensor:
        """The same chain with compiled steps, which move u (B, D) in place."""
        tilted = isinstance(log_prob, TiltedNormal)
        counter, size, step = Counter(u, generator), u.new_full((), self.settings.step_size), fused_step()
        for _ in range(self.settings.steps):
            if isinstance(log_prob, TiltedNormal):
                value, slope = ratio_and_gradient(log_prob.log_ratio, u)
            else:
                value, slope = value_and_gradient(log_prob, u)
            if _same_memory(slope, u):  # which moves in place
                slope = slope.clone()
            square, gradient_norm, displacement = step(u, slope, counter, size, tilted=tilted)
            energy = value - square / 2 if tilted else value
            record.step(u, energy=energy, gradient_norm=gradient_norm, displacement=displacement)
        return u

    def tuned(self, log_prob: LogProb, start: Tensor, *, generator: Generator | None = None) -> "Langevin":
        """This sampler with the step size that gives the displacement `target`; itself if the step size is fixed."""
        own = self.settings
        if own.choose == "fixed":
            return self
        size = by_displacement(log_prob, start, target=own.target, steps=own.pilot_steps, generator=generator)
        return Langevin(own.model_copy(update={"step_size": size or own.step_size, "choose": "fixed"}))


def _same_memory(a: Tensor, b: Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
