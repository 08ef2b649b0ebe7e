r"""Step sizes from pilot runs.

By displacement: a Langevin step has :math:`E|\Delta u|^2 / D = s + \frac{s^2}{4} G` with :math:`G = E|\nabla \log p|^2 / D`;
for a wanted displacement d that is solved by :math:`s = 2 d^2 / (1 + \sqrt{1 + G d^2})`.

By acceptance: dual averaging of log s (Hoffman & Gelman 2014, "The No-U-Turn Sampler", section 3.2 and its constants).
"""

from collections.abc import Callable
from math import isfinite, log

import torch
from torch import Generator, Tensor

from priorkit.mcmc.density import LogProb
from priorkit.mcmc.gradient import value_and_gradient
from priorkit.mcmc.langevin import langevin_move
from priorkit.mcmc.metropolis import State

__all__ = ["by_acceptance", "by_displacement"]

_SHRINKAGE, _OFFSET, _DECAY = 0.05, 10.0, 0.75


@torch.no_grad()
def by_displacement(
    log_prob: LogProb, start: Tensor, *, target: float, steps: int, generator: Generator | None
) -> float | None:
    """Returns the s at which a coordinate moves by `target` (root mean square) per step; None if no gradient is finite.

    The pilot takes the solution for its current G at every step, so no move is longer than the target asks for; the
    result is the solution for the mean G over the second half.
    """
    u, noise = start.detach().clone(), torch.empty_like(start)
    seen = []
    for _ in range(steps):
        gradient = value_and_gradient(log_prob, u)[1]
        squares = gradient.square().mean(1)
        seen.append(torch.where(squares.isfinite(), squares, torch.nan).nanmean())
        size = _solve(seen[-1], target)
        u.add_(langevin_move(gradient, size, generator, out=noise))
    chosen = float(_solve(torch.stack(seen[steps // 2 :]).nanmean(), target))
    return chosen if isfinite(chosen) else None


def _solve(mean_square: Tensor, target: float) -> Tensor:
    return 2 * target**2 / (1 + (1 + mean_square * target**2).sqrt())


@torch.no_grad()
def by_acceptance(
    step: Callable[[State, Tensor], tuple[State, Tensor]], state: State, *, target: float, steps: int, initial: float
) -> float | None:
    """Returns the s at which the mean acceptance is `target`; None if there is none.

    `step` moves the chains with a step size (): the next state and the acceptance probability of each row, (B,).
    """
    size = state.u.new_full((), initial)
    centre = log(10.0) + size.log()
    error, averaged = torch.zeros_like(size), size.log()
    for t in range(1, steps + 1):
        state, acceptance = step(state, size)
        error += (target - acceptance.mean()).sub(error).div(t + _OFFSET)
        log_size = centre - t**0.5 / _SHRINKAGE * error
        weight = t**-_DECAY
        averaged = weight * log_size + (1 - weight) * averaged
        size = log_size.exp()
    chosen = float(averaged.exp())
    return chosen if isfinite(chosen) else None
