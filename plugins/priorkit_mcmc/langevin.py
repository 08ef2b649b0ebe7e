r"""Unadjusted Langevin: :math:`u \leftarrow u + \frac{s}{2} \nabla \log p(u) + \sqrt{s}\,\epsilon`.

The chain is biased: on N(0, I) its stationary variance is 1 / (1 - s/4), on a Gaussian of precision :math:`\Lambda` it
is :math:`\Lambda^{-1} (I - s \Lambda / 4)^{-1}`.  Halve the step or use `Mala` where that matters.
"""

from collections.abc import Callable
from math import sqrt
from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Generator, Tensor

from priorkit.core import Chain, LogProb, Sampler, Settings, TiltedNormal, ratio_and_gradient, value_and_gradient
from priorkit_mcmc.chain_recorder import Record, finite_rows, per_coordinate
from priorkit_mcmc.counter_noise import Counter
from priorkit_mcmc.fused import fused_step
from priorkit_mcmc.step_size import by_displacement

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


_Move = Callable[[], tuple[Tensor, Tensor, Tensor]]
"""Makes a step in place; gives the log density of the state left, its gradient's norm and the displacement, (B,) each."""


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
        u = start.detach().clone()
        move = self._fused(log_prob, u, generator) if self.settings.fused else self._plain(log_prob, u, generator)
        record = Record(u, keep_every)
        for _ in range(self.settings.steps):
            value, gradient_norm, displacement = move()
            record.step(
                u,
                energy=value,
                gradient_norm=gradient_norm,
                displacement=displacement,
                finite=finite_rows(value, displacement),
            )
        return record.chain(u, self.settings.steps)

    def _plain(self, log_prob: LogProb, u: Tensor, generator: Generator | None) -> _Move:
        half, root, noise = self.settings.step_size / 2, sqrt(self.settings.step_size), torch.empty_like(u)

        def move() -> tuple[Tensor, Tensor, Tensor]:
            value, gradient = value_and_gradient(log_prob, u)
            gradient_norm = torch.linalg.vector_norm(gradient, dim=1)
            # Scaled as it is drawn: one walk over memory less.
            change = noise.normal_(std=root, generator=generator).add_(gradient, alpha=half)
            u.add_(change)
            return value, gradient_norm, per_coordinate(change)

        return move

    def _fused(self, log_prob: LogProb, u: Tensor, generator: Generator | None) -> _Move:
        tilted = isinstance(log_prob, TiltedNormal)
        counter, size, step = Counter(u, generator), u.new_tensor(self.settings.step_size), fused_step()

        def move() -> tuple[Tensor, Tensor, Tensor]:
            if isinstance(log_prob, TiltedNormal):
                value, slope = ratio_and_gradient(log_prob, u)
            else:
                value, slope = value_and_gradient(log_prob, u)
            if _same_memory(slope, u):  # which moves in place
                slope = slope.clone()
            square, norm, displacement = step(u, slope, counter, size, tilted=tilted)
            return value - square / 2 if tilted else value, norm, displacement

        return move

    def tuned(self, log_prob: LogProb, start: Tensor, *, generator: Generator | None = None) -> "Langevin":
        """This sampler with the step size that gives the displacement `target`; itself if the step size is fixed."""
        own = self.settings
        if own.choose == "fixed":
            return self
        size = by_displacement(log_prob, start, target=own.target, steps=own.pilot_steps, generator=generator)
        return Langevin(own.model_copy(update={"step_size": size or own.step_size, "choose": "fixed"}))


def _same_memory(a: Tensor, b: Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
