r"""Heun's method for dx / ds = f(x, s), and the change of log density along it.

.. math:: \frac{d}{ds} \log p_s(x_s) = -\nabla \cdot f(x_s, s), \qquad
          \nabla \cdot f = \sum_j e_j^T J e_j = E[v^T J v]

(Chen et al. 2018, "Neural Ordinary Differential Equations", theorem 1; with random signs v Hutchinson's estimate, as in
Grathwohl et al. 2019, "FFJORD").
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Generator, Tensor

from priorkit.runtime.sent import sent

__all__ = ["Field", "Probes", "quadratic_forms", "transported", "transported_with_forms"]

Field = Callable[[Tensor, float], Tensor]
"""f(x, s), (B, d) -> (B, d), each row a function of its own row of x."""

PROBE_SEED = 20_230_501
"""Of the random directions: fixed, so that a log density is a function of u alone."""


@dataclass(frozen=True)
class Probes:
    """Directions v_k whose quadratic forms v_k^T J v_k give the divergence, as their sum or their mean."""

    directions: Tensor
    """(K, d), or (K, B, d) for each row its own."""
    exact: bool
    """The unit vectors, whose forms add up to the divergence; else the mean of the forms estimates it."""

    @classmethod
    def unit(cls, like: Tensor) -> "Probes":
        """Return the unit vectors of the space of like (B, d)."""
        return cls(torch.eye(like.shape[1], dtype=like.dtype, device=like.device), True)

    @classmethod
    def signs(cls, count: int, like: Tensor, stream: int = 0) -> "Probes":
        """Return `count` fixed vectors of random signs in the space of like (B, d), others for each stream."""
        generator = torch.Generator().manual_seed(PROBE_SEED + stream)
        drawn = torch.randint(2, (count, like.shape[1]), generator=generator) * 2 - 1
        return cls(sent(drawn, like.device).to(like.dtype), False)

    @classmethod
    def of_each(cls, count: int, like: Tensor, generator: Generator) -> "Probes":
        """Return `count` vectors of random signs for each row of like (B, d): errors of a mean over rows average out."""
        signs = torch.empty((count, *like.shape), dtype=like.dtype, device=like.device)
        return cls(signs.bernoulli_(0.5, generator=generator).mul_(2).sub_(1), False)

    def estimates(self, forms: Tensor) -> Tensor:
        """Return the divergence of forms (K, B): (1, B) if it is exact, else one estimate per direction, (K, B)."""
        return forms.sum(0, keepdim=True) if self.exact else forms


def transported(field: Field, x: Tensor, nodes: Sequence[float]) -> Tensor:
    """Return where the ODE carries x (B, d) from the first to the last of the nodes of s, (B, d)."""
    for s, then in pairwise(nodes):
        h, slope = then - s, field(x, s)
        x = x + 0.5 * h * (slope + field(x + h * slope, then))
    return x


def transported_with_forms(field: Field, x: Tensor, nodes: Sequence[float], probes: Probes) -> tuple[Tensor, Tensor]:
    """Return where the ODE carries x (B, d), and the integral over s of every quadratic form on the way, (K, B)."""
    total = x.new_zeros(len(probes.directions), len(x))
    for s, then in pairwise(nodes):
        h = then - s
        slope, forms = quadratic_forms(partial(_at, field, s), x, probes)
        later, later_forms = quadratic_forms(partial(_at, field, then), x + h * slope, probes)
        x, total = x + 0.5 * h * (slope + later), total + 0.5 * h * (forms + later_forms)
    return x, total


def _at(field: Field, s: float, x: Tensor) -> Tensor:
    return field(x, s)


def quadratic_forms(function: Callable[[Tensor], Tensor], x: Tensor, probes: Probes) -> tuple[Tensor, Tensor]:
    """Return f(x), (B, d), and v_k^T J(x) v_k of each direction, (K, B), with J the Jacobian of a row.

    Both can be differentiated where gradients are enabled.
    """
    tracked = torch.is_grad_enabled()
    with torch.enable_grad():
        at = x if tracked and x.requires_grad else x.detach().requires_grad_()
        value, forms = function(at), list[Tensor]()
        # Backward products: layer normalisation has no kernel for forward ones, and they took twice the time.
        for v in probes.directions:
            (product,) = torch.autograd.grad(value, at, v.expand_as(value), retain_graph=True, create_graph=tracked)
            forms.append((product * v).sum(1))
    return (value, torch.stack(forms)) if tracked else (value.detach(), torch.stack(forms))
