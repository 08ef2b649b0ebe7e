r"""Step sizes from pilot runs.

By displacement: a Langevin step has :math:`E|\Delta u|^2 / D = s + \frac{s^2}{4} G` with :math:`G = E|\nabla \log p|^2 / D`;
for a wanted displacement d that is solved by :math:`s = 2 d^2 / (1 + \sqrt{1 + G d^2})`.

By acceptance: dual averaging of log s (Hoffman & Gelman 2014, "The No-U-Turn Sampler", section 3.2 and its constants).
"""

from collections.abc import Callable
from math import isfinite, log

import torch
from torch import Generator, Tensor

from priorkit.core import LogProb, value_and_gradient

__all__ = ["by_acceptance", "by_displacement"]

_SHRINKAGE, _OFFSET, _DECAY = 0.05, 10.0, 0.75


@torch.no_grad()
def by_displacement(
    log_prob: LogProb, start: Tensor, *, target: float, steps: int, generator: Generator | None
) -> float | None:
    """The s at which a coordinate moves by `target` (root mean square) a step; None if no gradient is finite.

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
        u.add_(noise.normal_(generator=generator).mul_(size.sqrt()).addcmul_(gradient, size / 2))
    chosen = float(_solve(torch.stack(seen[steps // 2 :]).nanmean(), target))
    return chosen if isfinite(chosen) else None


def _solve(mean_square: Tensor, target: float) -> Tensor:
    return 2 * target**2 / (1 + (1 + mean_square * target**2).sqrt())


@torch.no_grad()
def by_acceptance(step: Callable[[Tensor], Tensor], *, target: float, steps: int, initial: Tensor) -> float | None:
    """The s at which `step(s)`, which moves the chains and gives their mean acceptance, gives `target` on average."""
    centre = log(10.0) + initial.log()
    error, averaged, size = torch.zeros_like(initial), initial.log(), initial
    for t in range(1, steps + 1):
        error += (target - step(size)).sub(error).div(t + _OFFSET)
        log_size = centre - t**0.5 / _SHRINKAGE * error
        weight = t**-_DECAY
        averaged = weight * log_size + (1 - weight) * averaged
        size = log_size.exp()
    chosen = float(averaged.exp())
    return chosen if isfinite(chosen) else None
