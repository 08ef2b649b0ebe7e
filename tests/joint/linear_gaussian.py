r"""A two-layer linear-Gaussian generator and a quadratic energy on it: posterior, prior and evidence are known.

z_0 = u_0, z_1 = A z_0 + s u_1, so z = M u; x = C z_1 + sigma e = W u + sigma e.  With log r(y) = b'y - y'Qy / 2 of y = G u,
G = I or M, the prior is Gaussian with precision P = I + G'QG and mean P^{-1} G'b.
"""

import torch
from torch import nn
from torch.distributions import MultivariateNormal

from priorkit.core import Backbone, Context, DataSpec, Layout, Posterior, Prior, TopDown
from priorkit.likelihoods import FixedNormal, normal_kl

SIZES = (2, 3)
DIM = sum(SIZES)
OBSERVED = 3
SIGMA = 0.6


class Walk(TopDown):
    def __init__(self, model, batch):
        self.model, self.batch, self.taken = model, batch, []

    def context(self):
        if not self.taken:
            zero = self.model.a.new_zeros(self.batch, SIZES[0])
            return Context(zero, zero + 1, None)
        mean = self.taken[0] @ self.model.a.T
        return Context(mean, self.model.log_s.exp().expand_as(mean), None)

    def take(self, z):
        self.taken.append(z)

    def decode(self):
        return FixedNormal(self.taken[1] @ self.model.c.T, SIGMA, units="data")


class LinearGenerator(Backbone):
    """`q`, where it is set, maps x to the mean and Cholesky factor of q(u | x)."""

    def __init__(self):
        super().__init__()
        g = torch.Generator().manual_seed(5)
        self.layout = Layout(tuple((size,) for size in SIZES))
        self.spec = DataSpec("linear", (OBSERVED,), None)
        self.a = nn.Parameter(0.7 * torch.randn(SIZES[1], SIZES[0], generator=g, dtype=torch.float64))
        self.log_s = nn.Parameter(torch.tensor([-0.5, 0.2, -0.1], dtype=torch.float64))
        self.c = nn.Parameter(0.8 * torch.randn(OBSERVED, SIZES[1], generator=g, dtype=torch.float64))
        self.q = None

    def top_down(self, batch, *, temperature=1.0):
        return Walk(self, batch)

    def infer(self, x, *, generator=None):
        mean, factor = self.q(x)
        u = mean + torch.randn(mean.shape, generator=generator, dtype=x.dtype) @ factor.T
        kl = normal_kl(mean, factor.diagonal()) if factor.diagonal().diag().equal(factor) else None
        return Posterior(u, None if kl is None else self.layout.layer_sums(kl), None)

    def objectives(self):
        return []

    def m(self):
        """z = M u, (D, D), with gradient."""
        top = torch.cat([torch.eye(SIZES[0]), torch.zeros(SIZES)], dim=1).double()
        return torch.cat([top, torch.cat([self.a, self.log_s.exp().diag()], dim=1)])

    def w(self):
        """E[x | u] = W u, (d, D), with gradient."""
        return self.c @ self.m()[SIZES[0] :]


class Quadratic(Prior):
    """log r(y) = b'y - y'Qy / 2."""

    def __init__(self, space, reads, *, scale=0.4):
        super().__init__(None, space)
        g = torch.Generator().manual_seed(6)
        root = torch.randn(DIM, DIM, generator=g, dtype=torch.float64)
        self.energy_input = reads
        self.quadratic = nn.Parameter(scale * root @ root.T / DIM)
        self.linear = nn.Parameter(scale * torch.randn(DIM, generator=g, dtype=torch.float64))

    def log_ratio(self, u, *, stages=None):
        y = self.space.latents(u) if self.energy_input == "z" else u
        return y @ self.linear - 0.5 * (y @ self.quadratic * y).sum(1)

    def draw(self, n, sampling):
        raise NotImplementedError


def moments(backbone, prior):
    """Mean (D,) and precision (D, D) of p(u), with gradient."""
    precision = torch.eye(DIM, dtype=torch.float64)
    if prior is None:
        return torch.zeros(DIM, dtype=torch.float64), precision
    g = backbone.m() if prior.energy_input == "z" else torch.eye(DIM, dtype=torch.float64)
    precision = precision + g.T @ prior.quadratic @ g
    return torch.linalg.solve(precision, g.T @ prior.linear), precision


def posterior(backbone, prior, x):
    """Means (B, D) and precision (D, D) of p(u | x)."""
    mean, precision = moments(backbone, prior)
    w = backbone.w()
    sharpened = precision + w.T @ w / SIGMA**2
    return torch.linalg.solve(sharpened, (precision @ mean)[:, None] + w.T @ x.T / SIGMA**2).T, sharpened


def evidence(backbone, prior, x):
    """log p(x), (B,), with gradient."""
    mean, precision = moments(backbone, prior)
    w = backbone.w()
    covariance = w @ torch.linalg.solve(precision, w.T) + SIGMA**2 * torch.eye(OBSERVED, dtype=torch.float64)
    return MultivariateNormal(w @ mean, covariance).log_prob(x)


def points(mean, covariance):
    """2 D points (2 D, D) with exactly this mean and covariance."""
    factor = torch.linalg.cholesky(covariance) * DIM**0.5
    return torch.cat([mean + factor.T, mean - factor.T])


def observed(count):
    return torch.randn(count, OBSERVED, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
