r"""Hamiltonian moves by Strang's splitting: half a kick of the momentum, the flow of the rest, half a kick.

With a momentum :math:`v \sim N(0, I)` the energy is :math:`-\log p(u) + |v|^2 / 2`.  Where the flow is the free motion
:math:`u \leftarrow u + \tau v` this is the leapfrog (Neal 2011, "MCMC using Hamiltonian dynamics", section 5.2.3.2); where
it is the rotation that N(0, I) makes exactly, kicks come from the density's ratio to N(0, I) alone (Shahbaba et al. 2014).
"""

from collections.abc import Callable

from torch import Tensor

from priorkit.mcmc.metropolis import State

__all__ = ["Flow", "drift", "integrate", "rotation"]

Flow = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""u and momentum (B, D) each -> those after one step."""


def drift(time: Tensor) -> Flow:
    """Returns the free motion for a time, () or (B, 1)."""
    return lambda u, momentum: (u + time * momentum, momentum)


def rotation(angle: Tensor) -> Flow:
    """Returns the motion under N(0, I) for a time, the angle, (B, 1): u and momentum turn into each other."""
    cosine, sine = angle.cos(), angle.sin()
    return lambda u, momentum: (cosine * u + sine * momentum, cosine * momentum - sine * u)


def integrate(
    evaluate: Callable[[Tensor], State], flow: Flow, kick: Tensor, state: State, momentum: Tensor, steps: int
) -> tuple[State, Tensor]:
    """Returns the end of `steps` steps from a state and its momentum (B, D), and the momentum there.

    `evaluate` gives the state at u (B, D); a whole kick adds `kick`, () or (B, 1), times its gradient to the momentum.  The
    map is reversible (with the momentum turned round it goes back) and keeps volume, whatever the gradient.
    """
    end = state
    momentum = momentum + kick / 2 * end.gradient
    for left in reversed(range(steps)):
        u, momentum = flow(end.u, momentum)
        end = evaluate(u)
        momentum = momentum + (kick if left else kick / 2) * end.gradient
    return end, momentum
