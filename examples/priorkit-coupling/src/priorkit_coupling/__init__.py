"""A prior for priorkit of affine coupling layers, written in torch."""

from priorkit_coupling.prior import CouplingPrior, CouplingSettings

__all__ = ["CouplingPrior", "CouplingSettings"]
