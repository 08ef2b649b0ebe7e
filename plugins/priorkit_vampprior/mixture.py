r"""A mixture of diagonal Gaussians with equal weights, :math:`p(u) = \frac1K \sum_k N(u; m_k, \mathrm{diag}(s_k^2))`."""

from math import log
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

__all__ = ["Components", "PosteriorMixture"]

NUMBERS = 2**22
"""Pairs of a point and a component that are computed at once, 32 MiB."""


class Components(NamedTuple):
    """K diagonal Gaussians."""

    means: Tensor
    """(K, d)."""
    log_scales: Tensor
    """(K, d)."""

    def distances(self, u: Tensor) -> Tensor:
        """Return |(u - m_k) / s_k|^2, (B, d) -> (B, K), float64.

        As matrix products: their terms cancel, which needs double precision where the posteriors are narrow.
        """
        u, means = u.double(), self.means.double()
        precisions = (-2 * self.log_scales.double()).exp()
        weighted = precisions * means
        return u.square() @ precisions.T - 2 * u @ weighted.T + (weighted * means).sum(1)


class PosteriorMixture(nn.Module):
    """K components, initially all N(0, I)."""

    def __init__(self, number: int, size: int, *, learnt: bool) -> None:
        super().__init__()
        self.means = nn.Parameter(torch.zeros(number, size), requires_grad=learnt)
        self.log_scales = nn.Parameter(torch.zeros(number, size), requires_grad=learnt)

    @property
    def components(self) -> Components:
        """The parameters."""
        return Components(self.means, self.log_scales)

    @torch.no_grad()
    def set(self, means: Tensor, log_scales: Tensor) -> None:
        """Set the components, (K, d) each."""
        self.means.copy_(means)
        self.log_scales.copy_(log_scales)

    def log_ratio(self, u: Tensor) -> Tensor:
        """Return log p(u) - log N(u; 0, I), (B, d) -> (B,)."""
        parts = torch.split(u, max(1, NUMBERS // len(self.means)))
        return torch.cat([self._log_ratio(part) for part in parts])

    def _log_ratio(self, u: Tensor) -> Tensor:
        terms = -0.5 * self.components.distances(u) - self.log_scales.double().sum(1)
        value = terms.logsumexp(1) - log(len(self.means)) + 0.5 * u.double().square().sum(1)
        return value.to(u.dtype)

    def draw(self, noise: Tensor, generator: Generator | None) -> Tensor:
        """Return a sample for each row of noise (N, d) from N(0, I), (N, d)."""
        chosen = torch.randint(len(self.means), (len(noise),), generator=generator, device=noise.device)
        return torch.addcmul(self.means[chosen], self.log_scales[chosen].exp(), noise)
