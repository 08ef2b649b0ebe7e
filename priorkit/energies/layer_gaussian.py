"""The Gaussian of one layer under a batch of contexts, and the correlation of its entries, the same for all contexts."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["LayerGaussian", "second_moments"]


@dataclass(frozen=True)
class LayerGaussian:
    r"""N(mean, S L L^T S) with S = diag(exp(log_scale)), (B, size) each; L is `factor`, or I if that is None."""

    mean: Tensor
    log_scale: Tensor
    factor: Tensor | None = None
    """(size, size), lower triangular, the same for all contexts."""

    def place(self, v: Tensor) -> Tensor:
        """Return u_i for standardised v (B, size)."""
        return torch.addcmul(self.mean, self.log_scale.exp(), v if self.factor is None else v @ self.factor.T)

    def log_ratio(self, u: Tensor) -> Tensor:
        """Return log N(u; mean, covariance) - log N(u; 0, I), (B, size) -> (B,)."""
        return self.expected_log_ratio(u, torch.zeros_like(u))

    def expected_log_ratio(self, mean: Tensor, scale: Tensor) -> Tensor:
        """Return its mean over u ~ N(mean, scale^2), (B, size) each -> (B,), in nats."""
        standard = mean.square() + scale.square()
        rest, noise = self.standardised(mean, scale)
        own, determinant = rest.square() + noise.square(), self.log_scale
        if self.factor is not None:
            inverse = torch.linalg.solve_triangular(self.factor, torch.eye(len(self.factor)).to(self.factor), upper=False)
            own = (rest @ inverse.T).square() + noise.square() * inverse.square().sum(0)
            determinant = determinant + self.factor.diagonal().log()
        return (0.5 * (standard - own) - determinant).sum(1)

    def standardised(self, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and scale of S^-1 (u - `self.mean`) for u ~ N(mean, scale^2), (B, size) each."""
        shrink = (-self.log_scale).exp()
        return (mean - self.mean) * shrink, scale * shrink


def second_moments(rest: Tensor, noise: Tensor) -> Tensor:
    """Return the sum over points of E[v v^T] for v ~ N(rest, noise^2), (B, size) each -> (size, size), in double
    precision."""
    rest, noise = rest.double(), noise.double()
    return rest.T @ rest + noise.square().sum(0).diag()
