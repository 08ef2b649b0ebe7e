"""Gaussian mixtures on u: fitted in seconds, exact density, exact samples. The baseline for learned energies."""

from priorkit_mixture.prior import MixturePrior
from priorkit_mixture.settings import MixtureSettings

__all__ = ["MixturePrior", "MixtureSettings"]
