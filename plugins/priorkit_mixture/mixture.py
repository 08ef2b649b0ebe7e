r"""A Gaussian mixture with an exact density, exact samples and exact conditionals of its first columns.

.. math:: p(u) = \sum_k w_k\, N(u; m_k, L_k L_k^T)

With L_k lower triangular, the marginal of the first columns has the leading block of L_k as its factor, so that marginals
and conditionals need no new factorisation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

__all__ = ["Mixture"]


class Mixture(nn.Module):
    """K Gaussians on D columns; initially N(0, I)."""

    log_weights: Tensor
    """(K,)."""
    means: Tensor
    """(K, D)."""
    factors: Tensor
    """L_k, (K, D, D), or the standard deviations, (K, D)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("log_weights", torch.zeros(1))
        self.register_buffer("means", torch.zeros(1, dim))
        self.register_buffer("factors", torch.ones(1, dim))

    def set(self, found: Mapping[str, Tensor]) -> None:
        """Set the components, by the names of the buffers."""
        for name, value in found.items():
            # A Cholesky factor is stored by columns and a restored one by rows; their products differ in the last bits.
            setattr(self, name, value.to(self.means).contiguous())

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        # The number of components is known when they are fitted.
        for name in ("log_weights", "means", "factors"):
            if isinstance(value := state_dict.get(prefix + name), Tensor):
                setattr(self, name, self.means.new_empty(value.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def noise(self, u: Tensor) -> Tensor:
        """Return L_k^-1 (u - m_k) of each component on the first columns of u (N, d), (K, N, d)."""
        d = u.shape[1]
        centred = u - self.means[:, None, :d]
        if self.factors.ndim == 2:
            return centred / self.factors[:, None, :d]
        noise: Tensor = torch.linalg.solve_triangular(self.factors[:, :d, :d], centred.mT, upper=False)
        return noise.mT

    def log_ratios(self, u: Tensor, sizes: Sequence[int]) -> Tensor:
        """Return the log density over N(0, I) of each block of columns given those before it, (N, D) -> (N, blocks)."""
        diagonal = self.factors if self.factors.ndim == 2 else self.factors.diagonal(dim1=1, dim2=2)
        cut, terms = list(sizes), []
        blocks = zip(torch.split(self.noise(u), cut, 2), torch.split(diagonal, cut, 1), torch.split(u, cut, 1), strict=True)
        for own, scales, point in blocks:
            # The constants of both Gaussians cancel.
            terms.append(-0.5 * own.square().sum(2) - scales.log().sum(1)[:, None] + 0.5 * point.square().sum(1))
        upto = torch.stack(terms, 2).cumsum(2) + self.log_weights[:, None, None]
        marginals = upto.logsumexp(0)
        return torch.diff(marginals, dim=1, prepend=marginals.new_zeros(len(u), 1))

    def draw(self, noise: Tensor, top: Tensor | None = None, *, generator: Generator | None = None) -> Tensor:
        """Return a sample for each row of noise (N, D) from N(0, I), (N, D).

        `top` (N, d) fixes the first columns: the others are sampled given these.
        """
        log_weights = self.log_weights.expand(len(noise), -1)
        own = noise.expand(len(self.means), *noise.shape)
        if top is not None:
            fixed = self.noise(top)
            d = top.shape[1]
            diagonal = self.factors if self.factors.ndim == 2 else self.factors.diagonal(dim1=1, dim2=2)
            log_weights = log_weights - (0.5 * fixed.square().sum(2) + diagonal[:, None, :d].log().sum(2)).T
            own = torch.cat([fixed, own[:, :, d:]], dim=2)
        chosen = torch.multinomial(log_weights.softmax(1), 1, generator=generator)[:, 0]
        rows = torch.arange(len(noise), device=noise.device)
        if self.factors.ndim == 2:
            return self.means[chosen] + self.factors[chosen] * own[chosen, rows]
        # Every component for every row: K times the products, but no factor per row in memory and no device synchronisation.
        return self.means[chosen] + (own @ self.factors.mT)[chosen, rows]
