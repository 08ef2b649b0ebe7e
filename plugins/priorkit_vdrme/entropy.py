r"""The two estimators of a conditional generator's entropy.

Low dimension: Kozachenko and Leonenko's estimator from the distances :math:`\rho_j` of M samples to their nearest
neighbours, :math:`\hat H = \frac{D}{M} \sum_j \ln \rho_j + \ln V_D + \psi(M) - \psi(1)`, V_D the volume of the unit ball.
With M = 2 it is the paper's eq. 12, :math:`D \ln(2 |x^a - x^b|)` plus a constant. With few samples the distance says more
about the overall spread than about the density at a point; the estimate converges to the entropy as M grows.

High dimension: for x = G(z) the entropy grows with the information that x and z share, bounded by Jensen and Shannon:
:math:`\mathbb{E}_{p(x, z)}[-sp(-T)] - \mathbb{E}_{p(x) p(z)}[sp(T)] \le 2 JS - 2 \ln 2`, with equality at T = the log of
p(x, z) / p(x) p(z) (paper, eq. 14).
"""

from math import lgamma, log, pi

import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["jsd_information", "nearest_neighbour_entropy"]

TINY = 1e-12
"""Added to squared distances: coinciding samples have a finite entropy and no gradient."""


def nearest_neighbour_entropy(draws: Tensor) -> Tensor:
    """Return entropies in nats of n distributions from M samples each, (n, M, D) -> (n,)."""
    count, dim = draws.shape[1:]
    squares = (draws[:, :, None] - draws[:, None]).square().sum(3)
    itself = torch.eye(count, dtype=torch.bool, device=draws.device)
    nearest = squares.masked_fill(itself, torch.inf).amin(2)
    log_volume = dim / 2 * log(pi) - lgamma(dim / 2 + 1)
    harmonic = sum(1 / k for k in range(1, count))  # psi(M) - psi(1)
    return dim / 2 * (nearest + TINY).log().mean(1) + log_volume + harmonic


def jsd_information(joint: Tensor, independent: Tensor) -> Tensor:
    """Return the bound from T at pairs (x, z) and at pairs whose z are permuted, (B,) each -> a scalar."""
    return -softplus(-joint).mean() - softplus(independent).mean()
