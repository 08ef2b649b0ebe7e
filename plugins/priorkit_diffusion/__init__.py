"""The diffusion prior: an energy at each noise level, conditional on the level above."""

from priorkit_diffusion.prior import DiffusionPrior
from priorkit_diffusion.settings import DiffusionSettings

__all__ = ["DiffusionPrior", "DiffusionSettings"]
