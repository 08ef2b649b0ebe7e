r"""A Markov transition that knows N(0, I) by heart: Hamiltonian moves for :math:`p(u) \propto e^{\beta f(u)} N(u; 0, I)`.

Under the Gaussian alone the Hamiltonian flow of (u, momentum) is a rotation, which is taken exactly; the rest of the
density kicks the momentum, half a kick before each rotation and half a kick after it (Strang's splitting, as in Beskos et
al. 2011 and Shahbaba et al. 2014).  At beta = 0 every move is accepted, whatever the dimension.  A Metropolis step makes
the density exactly stationary and the transition reversible.
"""

from dataclasses import dataclass
from math import exp, pi

import torch
from torch import Generator, Tensor

from priorkit.errors import UsageError
from priorkit.mcmc.density import LogProb

__all__ = ["LEAPS", "MAX_STEP", "State", "adapted", "evaluate", "transition"]

LEAPS = 3
"""Rotations, and gradients, of one transition."""
MAX_STEP = pi / 2 / LEAPS
"""Rotations of this angle make u and momentum change places: under N(0, I) the next point is independent."""
ACCEPTANCE = 0.75
JITTER = 0.25
"""Each chain's angle is drawn this share around the given one, so that no chain comes back to where it began."""


@dataclass(frozen=True)
class State:
    """Points and f at them.  Neither depends on beta, so a change of temperature costs nothing."""

    u: Tensor
    """(B, D)."""
    value: Tensor
    """f(u), (B,), float64; -inf where there is no mass."""
    gradient: Tensor
    """(B, D); 0 where it is not finite."""

    def __getitem__(self, rows: Tensor) -> "State":
        """The chosen rows."""
        return State(self.u[rows], self.value[rows], self.gradient[rows])


def evaluate(f: LogProb, u: Tensor) -> State:
    """f and its gradient at u (B, D).  Raises UsageError where f is NaN or +inf."""
    with torch.inference_mode(False), torch.enable_grad():
        point = u.detach().clone().requires_grad_()
        value = f(point)
        gradient = torch.autograd.grad(value.sum(), point)[0] if value.requires_grad else torch.zeros_like(point)
    value = value.detach().double()
    if bool((value.isnan() | value.isposinf()).any()):
        raise UsageError("the log ratio is not finite at some points; the energy has diverged")
    return State(point.detach(), value, gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0))


def transition(f: LogProb, state: State, beta: float, angle: float, generator: Generator | None) -> tuple[State, Tensor]:
    """One move under beta > 0, with rotations by about `angle`: the next state and each row's acceptance probability."""
    u = state.u
    spread = torch.rand(len(u), 1, generator=generator, dtype=u.dtype, device=u.device)
    angles = angle * (1 + JITTER * (2 * spread - 1))
    cosine, sine = angles.cos(), angles.sin()
    start = torch.empty_like(u).normal_(generator=generator)
    moved, momentum = state, start + (beta / 2) * angles * state.gradient
    for leap in range(LEAPS):
        moved = evaluate(f, cosine * moved.u + sine * momentum)
        momentum = cosine * momentum - sine * u + (beta if leap + 1 < LEAPS else beta / 2) * angles * moved.gradient
        u = moved.u
    gained = _log_joint(moved, momentum, beta) - _log_joint(state, start, beta)
    # From outside the density's support (-inf) every move into it is taken; between two such points none is.
    gained = gained.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    chance = torch.rand(len(u), generator=generator, dtype=torch.float64, device=u.device)
    accept = chance.log() < gained
    rows = accept[:, None]
    chosen = State(
        torch.where(rows, moved.u, state.u),
        torch.where(accept, moved.value, state.value),
        torch.where(rows, moved.gradient, state.gradient),
    )
    return chosen, gained.exp().clamp(max=1)


def adapted(angle: float, acceptance: Tensor) -> float:
    """The angle after a pilot's transition of this acceptance (B,): larger where more than 0.75 was accepted."""
    return min(MAX_STEP, angle * exp(float(acceptance.mean()) - ACCEPTANCE))


def _log_joint(state: State, momentum: Tensor, beta: float) -> Tensor:
    """The log density of points and momenta, (B,), float64."""
    return beta * state.value - 0.5 * (state.u.double().square().sum(1) + momentum.double().square().sum(1))
