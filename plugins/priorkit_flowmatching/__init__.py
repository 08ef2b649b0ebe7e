"""Flow matching and denoising score matching on u: a learned velocity from N(0, I), exact draws and a density by an ODE."""

from priorkit_flowmatching.prior import FlowMatchingPrior
from priorkit_flowmatching.settings import FlowMatchingSettings

__all__ = ["FlowMatchingPrior", "FlowMatchingSettings"]
