"""A Langevin step as one kernel: the Gaussian's gradient, the noise, the move and what the chain tells of itself.

Without it each of these walks over memory by itself, and the noise waits for one thread: beside small energies a third of
a step.  The log density's own evaluation stays outside, as it is.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from priorkit.errors import UsageError
from priorkit_mcmc.counter_noise import Counter, normals, splitmix64

__all__ = ["fused_step", "step"]


def fused_step(u: Tensor, slope: Tensor, counter: Counter, *, size: float, tilted: bool) -> tuple[Tensor, Tensor, Tensor]:
    """`step` for the counter's next noise, compiled.

    Raises UsageError where nothing can be compiled.
    """
    try:
        found: tuple[Tensor, Tensor, Tensor] = _compiled()(
            u, slope, counter.key + counter.rows, counter.columns, u.new_tensor(size), tilted
        )
    except Exception as error:
        if not _is_compilers(error):
            raise
        raise UsageError(
            "sampler.fused: torch.compile could not make the kernel on this machine "
            f"({type(error).__name__}); it needs a C++ compiler for a CPU, Triton for a GPU. "
            "Install one, or use --set sampler.fused=false."
        ) from error
    counter.advance()
    return found


def step(
    u: Tensor, slope: Tensor, rows: Tensor, columns: Tensor, size: Tensor, tilted: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Move u (B, D) in place by s/2 grad log p + sqrt(s) noise, for a step size s ().

    `slope` (B, D) is the gradient of log p, or where it is tilted of log p + |u|^2 / 2.  The noise is that of states
    rows + columns, (B, 1) and (ceil(D / 2),), the second half of the coordinates being the second of each pair.  Gives the
    squared norm of the old state, the norm of grad log p and the root mean square of the move over the coordinates, (B,).
    """
    noise = torch.cat(normals(splitmix64(rows + columns), u), dim=1)[:, : u.shape[1]]
    gradient = slope - u if tilted else slope
    move = size.sqrt() * noise + size / 2 * gradient
    square = u.square().sum(1)
    u.add_(move)
    return square, gradient.square().sum(1).sqrt(), (move.square().sum(1) / u.shape[1]).sqrt()


@cache
def _compiled() -> Any:
    return torch.compile(step)


def _is_compilers(error: Exception) -> bool:
    """Whether it comes from torch's compiler, whose errors have no base class that is public."""
    return type(error).__module__.startswith(("torch._inductor", "torch._dynamo"))
