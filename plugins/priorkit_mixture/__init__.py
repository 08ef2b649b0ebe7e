"""Gaussian mixtures on u: fitted in seconds, exact density, exact draws.  The baseline that a learned energy has to beat."""

from priorkit_mixture.prior import MixturePrior
from priorkit_mixture.settings import MixtureSettings

__all__ = ["MixturePrior", "MixtureSettings"]
