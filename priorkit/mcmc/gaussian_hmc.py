r"""A Markov transition that knows N(0, I) by heart: Hamiltonian moves for :math:`p(u) \propto e^{\beta f(u)} N(u; 0, I)`.

Under the Gaussian alone the Hamiltonian flow of (u, momentum) is a rotation, which is taken exactly; the rest of the
density kicks the momentum, half a kick before each rotation and half a kick after it (Strang's splitting, as in Beskos et
al. 2011 and Shahbaba et al. 2014).  At beta = 0 every move is accepted, whatever the dimension.  A Metropolis step makes
the density exactly stationary and the transition reversible.
"""

from functools import partial
from math import exp, pi

import torch
from torch import Generator, Tensor

from priorkit.errors import UsageError
from priorkit.mcmc.density import LogProb
from priorkit.mcmc.gradient import ratio_and_gradient
from priorkit.mcmc.hamiltonian import integrate, rotation
from priorkit.mcmc.metropolis import State, accept

__all__ = ["LEAPS", "MAX_STEP", "adapted", "evaluate", "transition"]

LEAPS = 3
"""Rotations, and gradients, of one transition."""
MAX_STEP = pi / 2 / LEAPS
"""Rotations of this angle make u and momentum change places: under N(0, I) the next point is independent."""
ACCEPTANCE = 0.75
JITTER = 0.25
"""Each chain's angle is drawn this share around the given one, so that no chain comes back to where it began."""


def evaluate(f: LogProb, u: Tensor) -> State:
    """Returns f, in float64, and its gradient at u (B, D); both are free of beta, so that a change of it costs nothing.

    f may be -inf where there is no mass; a gradient that is not finite is 0.  Raises UsageError where f is NaN or +inf.
    """
    value, gradient = ratio_and_gradient(f, u)
    if bool((value.isnan() | value.isposinf()).any()):
        raise UsageError("the log ratio is not finite at some points; the energy has diverged")
    return State(u.detach(), value.double(), gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0))


def transition(f: LogProb, state: State, beta: float, angle: float, generator: Generator | None) -> tuple[State, Tensor]:
    """Returns the next state under beta > 0, by rotations of about `angle`, and each row's acceptance probability."""
    u = state.u
    spread = torch.rand(len(u), 1, generator=generator, dtype=u.dtype, device=u.device)
    angles = angle * (1 + JITTER * (2 * spread - 1))
    start = torch.empty_like(u).normal_(generator=generator)
    moved, momentum = integrate(partial(evaluate, f), rotation(angles), beta * angles, state, start, LEAPS)
    gained = _log_joint(moved, momentum, beta) - _log_joint(state, start, beta)
    # From outside the density's support (-inf) every move into it is taken; between two such points none is.
    return accept(state, moved, gained, generator)


def adapted(angle: float, acceptance: Tensor) -> float:
    """Returns the angle after a pilot's transition of this acceptance (B,): larger where more than 0.75 was accepted."""
    return min(MAX_STEP, angle * exp(float(acceptance.mean()) - ACCEPTANCE))


def _log_joint(state: State, momentum: Tensor, beta: float) -> Tensor:
    """The log density of points and momenta, (B,), float64."""
    return beta * state.value - 0.5 * (state.u.double().square().sum(1) + momentum.double().square().sum(1))
