"""A Langevin step as one compiled function: the Gaussian's gradient, the noise, the move and the sums for the diagnostics.

Without it each of these walks over memory by itself, and on a CPU the noise is drawn on one thread: beside small energies
that is a quarter of a step.  The density's own evaluation stays outside, as it is.
"""

import logging
from typing import Any

import torch
from torch import Tensor

from priorkit_mcmc.counter_noise import Counter, normals, splitmix64

__all__ = ["FusedStep", "fused_step", "step"]

log = logging.getLogger(__name__)


class FusedStep:
    """`step`, compiled where that can be done.

    Where it cannot (no C++ compiler; on a GPU no Triton) it runs as it is written, slowly: a run must not end after its
    backbone is trained, and its numbers are those that it would have had.
    """

    def __init__(self) -> None:
        self.made: Any = None

    def __call__(self, u: Tensor, slope: Tensor, counter: Counter, size: Tensor, *, tilted: bool) -> tuple[Tensor, ...]:
        """`step` with the counter's next noise."""
        given = (u, slope, counter.key + counter.rows, counter.columns, size, tilted)
        counter.advance()
        try:
            if self.made is None:
                self.made = _compiled()
            return tuple(self.made(*given))  # compiles anew for another kind of number or mode of gradients
        except Exception as error:  # the compiler's errors have no public base class
            if not _is_compilers(error):
                raise
            self._give_up(error)
        return tuple(self.made(*given))

    def _give_up(self, error: Exception) -> None:
        self.made = step
        reason = (str(getattr(error, "inner_exception", error)).splitlines() or [""])[0]
        log.warning(
            "sampler.fused: torch.compile could not make the kernel (%s: %s), so that chains are slower than with "
            "sampler.fused=false; on a CPU it needs a C++ compiler, on a GPU Triton.", type(error).__name__, reason,
        )  # fmt: skip


class _UnsupportedError(Exception):
    """torch.compile refuses this Python or system."""


def _compiled() -> Any:
    try:
        return torch.compile(step, dynamic=True)
    except RuntimeError as error:
        raise _UnsupportedError(str(error)) from error


_only = FusedStep()


def fused_step() -> FusedStep:
    """The one of this process, so that all its chains share what is compiled."""
    return _only


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


def _is_compilers(error: Exception) -> bool:
    """Whether it comes from torch's compiler, whose errors have no public base class."""
    inner = getattr(error, "inner_exception", error)
    if isinstance(inner, torch.OutOfMemoryError):
        return False
    return isinstance(error, _UnsupportedError) or type(error).__module__.startswith(("torch._inductor", "torch._dynamo"))
