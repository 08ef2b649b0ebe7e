r"""Point sets in the plane whose density is known, so that a learnt density can be compared with the truth.

Each toy samples points and evaluates its log density.  Entropies are closed forms or midpoint sums: the integrands
are smooth on the scale of the noise and vanish at the border, where that rule converges faster than any power.
"""

import hashlib
from abc import ABC, abstractmethod
from functools import cache
from math import log, pi, tau
from typing import ClassVar

import numpy as np
import torch
from torch import Generator, Tensor

from priorkit.core import DataSpec
from priorkit.data.dataset import Dataset
from priorkit.data.examples import Points
from priorkit.errors import UsageError

__all__ = ["TOYS", "Checkerboard", "EightGaussians", "Moons", "Pinwheel", "Rings", "Toy", "load_toy", "toy"]

TRAIN_COUNT, HELDOUT_COUNT = 100_000, 20_000
REVISION = 1
"""Increased whenever a definition below changes, so that content hashes change with it."""


class Toy(ABC):
    """A distribution over the plane."""

    extent: ClassVar[float]
    """Half the side of a square around 0 that contains all of the mass except 1e-9."""

    @abstractmethod
    def sample(self, n: int, generator: Generator) -> Tensor:
        """Return n points, (n, 2), float32."""

    @abstractmethod
    def log_density(self, x: Tensor) -> Tensor:
        """Return the exact log p(x) in nats, (N, 2) -> (N,), -inf where p is 0; computed in the dtype of x."""

    cells: int = 0
    """Number of parts of equal mass of `cell`; 0 if there are none."""

    def cell(self, x: Tensor) -> Tensor:
        """Return the part that contains each point, (N, 2) -> (N,), -1 for none."""
        return torch.full((len(x),), -1, device=x.device)

    def entropy(self) -> float:
        """Return -E[log p] in nats, by a midpoint sum over the square with 400 points per side, in float64."""
        count = 400
        side = 2 * self.extent / count
        axis = (torch.arange(count, dtype=torch.float64) + 0.5) * side - self.extent
        log_p = self.log_density(torch.cartesian_prod(axis, axis))
        return float(torch.special.entr(log_p.exp()).sum() * side**2)


class Checkerboard(Toy):
    """Uniform on 8 of the 16 squares of side 2 that fill [-4, 4]^2; p = 1/32 there."""

    extent = 4.0
    cells = 8

    def cell(self, x: Tensor) -> Tensor:
        column, row = (x / 2).floor().long().add(2).unbind(1)
        return torch.where(self.log_density(x).isfinite(), 2 * row + column // 2, -1)

    def sample(self, n: int, generator: Generator) -> Tensor:
        # Odd multiples of 2^-20 are exact in float32 and never lie on the edge of a square.
        inside = (torch.randint(2**20, (n, 2), generator=generator) + 0.5) / 2**19
        cell = torch.randint(8, (n,), generator=generator)
        row = cell // 2
        column = 2 * (cell % 2) + row % 2
        return torch.stack([column, row], dim=1) * 2 - 4 + inside

    def log_density(self, x: Tensor) -> Tensor:
        filled = (x.abs() < 4).all(1) & ((x / 2).floor().sum(1) % 2 == 0)
        return torch.where(filled, x.new_tensor(-log(32.0)), -torch.inf)

    def entropy(self) -> float:
        return log(32.0)


class EightGaussians(Toy):
    """Eight equal Gaussians of deviation 0.3 on a circle of radius 3."""

    extent = 5.0
    radius = 3.0
    sigma = 0.3
    cells = 8

    def cell(self, x: Tensor) -> Tensor:
        return (torch.atan2(x[:, 1], x[:, 0]) * (8 / tau)).round().long() % 8

    def sample(self, n: int, generator: Generator) -> Tensor:
        angle = torch.randint(8, (n,), generator=generator) * (tau / 8)
        return self.radius * _direction(angle) + self.sigma * torch.randn(n, 2, generator=generator)

    def log_density(self, x: Tensor) -> Tensor:
        centres = self.radius * _direction(torch.arange(8, device=x.device, dtype=x.dtype) * (tau / 8))
        return _log_mixture(x, centres, self.sigma, torch.full_like(centres[:, 0], -log(8)))


class Moons(Toy):
    r"""Two interleaved half circles of radius 2, uniform along the arc, with Gaussian noise of deviation 0.2.

    :math:`p(x) = \frac{1}{\pi} \int_0^\pi N(x; c(t), \sigma^2 I) dt` by Gauss-Legendre quadrature with 96 nodes: a
    node every 0.52 sigma or less along the arc, where the rule has reached the precision of float64.
    """

    extent = 5.0
    radius = 2.0
    sigma = 0.2
    nodes = 96
    cells = 8

    def cell(self, x: Tensor) -> Tensor:
        """Return the quarter of an arc, by the nearest of 64 points per arc."""
        upper = self._arc((torch.arange(64, device=x.device, dtype=x.dtype) + 0.5) * (pi / 64))
        return torch.cdist(x, torch.cat([upper, -upper])).argmin(1) // 16

    def sample(self, n: int, generator: Generator) -> Tensor:
        angle = pi * torch.rand(n, generator=generator)
        side = torch.randint(2, (n, 1), generator=generator) * 2 - 1
        return side * self._arc(angle) + self.sigma * torch.randn(n, 2, generator=generator)

    def log_density(self, x: Tensor) -> Tensor:
        nodes, weights = (torch.from_numpy(item).to(x) for item in np.polynomial.legendre.leggauss(self.nodes))
        upper = self._arc((nodes + 1) * (pi / 2))
        log_weights = (weights / 4).log().repeat(2)
        return _log_mixture(x, torch.cat([upper, -upper]), self.sigma, log_weights)

    def _arc(self, angle: Tensor) -> Tensor:
        """Return the upper half circle; the lower one is its reflection in the origin."""
        return self.radius * (_direction(angle) - torch.tensor([0.5, 0.25], dtype=angle.dtype, device=angle.device))


class Rings(Toy):
    r"""Three equally likely circles of radius 1, 2, 3 with Gaussian noise of deviation 0.12.

    :math:`p(x \mid R) = \frac{1}{2\pi\sigma^2} e^{-(r^2 + R^2) / 2\sigma^2} I_0(r R / \sigma^2)`, r = |x|.
    """

    extent = 4.0
    radii = (1.0, 2.0, 3.0)
    sigma = 0.12

    def sample(self, n: int, generator: Generator) -> Tensor:
        radius = torch.tensor(self.radii)[torch.randint(3, (n, 1), generator=generator)]
        angle = tau * torch.rand(n, generator=generator)
        return radius * _direction(angle) + self.sigma * torch.randn(n, 2, generator=generator)

    def log_density(self, x: Tensor) -> Tensor:
        r = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        radii = torch.tensor(self.radii, dtype=x.dtype, device=x.device)
        # i0e(a) = exp(-a) I0(a) keeps the exponent at -(r - R)^2 / 2 sigma^2, which does not overflow.
        log_ring = -0.5 * ((r - radii) / self.sigma).square() + torch.special.i0e(r * radii / self.sigma**2).log()
        log_mixture: Tensor = log_ring.logsumexp(1)
        return log_mixture - log(3 * tau * self.sigma**2)


class Pinwheel(Toy):
    r"""Five Gaussian arms, each twisted by the angle a(r) = 0.5 r.

    :math:`x = R(a(|v|) + 2 \pi k / 5)\, v` with v Gaussian around (2, 0), deviations 0.6 and 0.2.  A rotation whose
    angle depends on the radius alone has Jacobian 1, and |x| = |v| inverts it: the density is an exact mixture.
    """

    extent = 6.0
    arms = 5
    mean = (2.0, 0.0)
    sigmas = (0.6, 0.2)
    twist = 0.5

    def sample(self, n: int, generator: Generator) -> Tensor:
        v = torch.randn(n, 2, generator=generator) * torch.tensor(self.sigmas) + torch.tensor(self.mean)
        arm = torch.randint(self.arms, (n,), generator=generator)
        return _rotate(v, self.twist * torch.linalg.vector_norm(v, dim=1) + arm * (tau / self.arms))

    def log_density(self, x: Tensor) -> Tensor:
        arm = torch.arange(self.arms, device=x.device, dtype=x.dtype) * (tau / self.arms)
        angle = self.twist * torch.linalg.vector_norm(x, dim=1, keepdim=True) + arm
        v = _rotate(x[:, None], -angle)
        sigmas, mean = x.new_tensor(self.sigmas), x.new_tensor(self.mean)
        exponent = -0.5 * ((v - mean) / sigmas).square().sum(2)
        return exponent.logsumexp(1) - log(self.arms * tau * self.sigmas[0] * self.sigmas[1])


def _direction(angle: Tensor) -> Tensor:
    """Return unit vectors, (...) -> (..., 2)."""
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


def _rotate(v: Tensor, angle: Tensor) -> Tensor:
    """Return v (..., 2) rotated counter-clockwise by angle (...)."""
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos * v[..., 0] - sin * v[..., 1], sin * v[..., 0] + cos * v[..., 1]], dim=-1)


def _log_mixture(x: Tensor, centres: Tensor, sigma: float, log_weights: Tensor) -> Tensor:
    """Return log of a mixture of isotropic Gaussians: x (N, 2), centres (K, 2), log_weights (K,) -> (N,)."""
    # The square is expanded, so that the (N, K) exponents are one matrix product; N is split so that they never fill
    # the memory.
    offsets = log_weights - 0.5 * centres.square().sum(1) / sigma**2
    rows = [torch.addmm(offsets, part, centres.T / sigma**2).logsumexp(1) for part in torch.split(x, 16_384)]
    return torch.cat(rows) - 0.5 * x.square().sum(1) / sigma**2 - log(tau * sigma**2)


TOYS: dict[str, type[Toy]] = {
    "checkerboard": Checkerboard,
    "8gaussians": EightGaussians,
    "moons": Moons,
    "rings": Rings,
    "pinwheel": Pinwheel,
}


@cache
def toy(name: str) -> Toy:
    """Return the toy of that name, such as 'moons' (a leading 'toy:' is allowed)."""
    try:
        return TOYS[name.removeprefix("toy:")]()
    except KeyError:
        raise UsageError(f"Unknown toy {name!r}; the toys are {', '.join(TOYS)}.") from None


def load_toy(name: str) -> Dataset:
    """Return 100,000 training and 20,000 held-out points, the same for every seed."""
    source = toy(name)
    generator = torch.Generator().manual_seed(0)
    x = source.sample(TRAIN_COUNT + HELDOUT_COUNT, generator)
    return Dataset(
        DataSpec(name, (2,), levels=None),
        Points(x[:TRAIN_COUNT]),
        Points(x[TRAIN_COUNT:]),
        hashlib.sha256(f"{name}/{REVISION}/{TRAIN_COUNT}/{HELDOUT_COUNT}".encode()).hexdigest(),
        f"{TRAIN_COUNT:,} train / {HELDOUT_COUNT:,} held out, drawn with a fixed seed",
        source,
    )
