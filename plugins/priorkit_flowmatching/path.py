r"""Variance-preserving paths between noise and data, by their angle.

.. math:: x_\theta = \cos\theta\, \epsilon + \sin\theta\, u, \qquad
          v(x, \theta) = E[\cos\theta\, u - \sin\theta\, \epsilon \mid x_\theta = x]

Every path :math:`a u + s \epsilon` with a^2 + s^2 = 1 passes through these points; paths differ only in the speed at which
they do.  The ODE dx / dtheta = v carries N(0, I) at angle 0 to the data at pi / 2 (Albergo and Vanden-Eijnden 2023,
"Building Normalizing Flows with Stochastic Interpolants"; Lipman et al. 2023, "Flow Matching for Generative Modeling").
Where u ~ N(0, I), v is 0 everywhere.
"""

from dataclasses import dataclass
from math import atan, exp, log, pi, tan
from typing import Literal

import torch
from torch import Generator, Tensor

__all__ = ["Matching", "Parameterisation", "Path"]

BETA = (0.1, 20.0)
"""beta(0) and beta(1) of the variance-preserving diffusion (Song et al. 2021, "Score-Based Generative Modeling through
Stochastic Differential Equations")."""
FIRST_ANGLE = atan(exp(-5.0))
"""Where the score parameterisation starts: the signal is 0.0067, as at the end of that diffusion."""
CROWDING = 1.5
"""Exponent of the distances of the ODE's nodes to the data.  On the checkerboard at 20 steps as accurate as 2, on smooth
mixtures nearly as accurate as 1, which is even spacing."""
LEAST_NOISE = 0.005
"""Where the logarithmic path ends.  In the log of the noise every squared error of the velocity has the weight of the
likelihood bound, because d log(1 / cos(angle)) = tan(angle) d angle."""
LAST_LOG_RATIO = 4.6
"""Largest log(signal / noise) in training with likelihood weights: the noise is 0.01."""


Path = Literal["trigonometric", "vp", "logarithmic"]


@dataclass(frozen=True)
class Parameterisation:
    """What the network's output means, and the coordinate s in which the ODE is dx / ds = output.

    velocity: the output is v and s is the angle.  score: the output is sin(angle) v, which is the predicted noise of
    N(0, I), cos(angle) x, minus the predicted noise; s = log tan(angle / 2), in which the ODE is free of singularities.
    """

    kind: Literal["velocity", "score"]

    def span(self) -> tuple[float, float]:
        """s at the noise and at the data."""
        return (0.0, pi / 2) if self.kind == "velocity" else (log(tan(FIRST_ANGLE / 2)), 0.0)

    def nodes(self, steps: int) -> list[float]:
        """The steps + 1 nodes of s from the noise to the data, closer to each other near the data, where edges and narrow
        modes form."""
        first, last = self.span()
        return [last - (last - first) * (1 - k / steps) ** CROWDING for k in range(steps + 1)]

    def angle(self, s: float) -> float:
        """The angle at s."""
        return s if self.kind == "velocity" else 2 * atan(exp(s))

    def factor(self, angle: Tensor) -> Tensor:
        """output / v."""
        return torch.ones_like(angle) if self.kind == "velocity" else angle.sin()


@dataclass(frozen=True)
class Matching:
    """The regression problem that the network is trained on."""

    parameterisation: Parameterisation
    path: Path
    likelihood: bool
    """Whether noise levels are weighted as in the likelihood bound."""

    def angles(self, n: int, generator: Generator | None, like: Tensor) -> Tensor:
        """Return n angles of training, (n,), with the type and device of `like`; evenly spread with one random offset."""
        offset = torch.rand(1, generator=generator, device=like.device, dtype=like.dtype)
        time = (offset + torch.arange(n, device=like.device, dtype=like.dtype) / n) % 1
        first = self.parameterisation.angle(self.parameterisation.span()[0])
        if self.likelihood:
            low = log(tan(FIRST_ANGLE))
            return (low + (LAST_LOG_RATIO - low) * time).exp().atan()
        if self.path == "trigonometric":
            return first + (pi / 2 - first) * time
        if self.path == "logarithmic":
            return (log(LEAST_NOISE) * time).exp().acos().clamp(min=first)
        double = -(BETA[0] * time + (BETA[1] - BETA[0]) / 2 * time.square())
        return torch.atan2((double / 2).exp(), (-torch.expm1(double)).sqrt()).clamp(min=first)

    def noised(self, u: Tensor, noise: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
        """Return the point on the path and the value that the output is to predict, (B, d) each, of u and noise (B, d)
        at angles (B,)."""
        sine, cosine = angle.sin()[:, None], angle.cos()[:, None]
        velocity = cosine * u - sine * noise
        return cosine * noise + sine * u, self.parameterisation.factor(angle)[:, None] * velocity

    def weight(self, angle: Tensor) -> Tensor:
        """Return the weight of a squared error at angles (B,), (B,): 1, or with likelihood weights that with which it is
        the squared error of the predicted noise (Kingma et al. 2021, "Variational Diffusion Models")."""
        if not self.likelihood:
            return torch.ones_like(angle)
        return (angle.sin() / self.parameterisation.factor(angle)).square()
