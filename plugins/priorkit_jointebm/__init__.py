"""The maximum-likelihood energy-based prior."""

from priorkit_jointebm.prior import JointEbmPrior
from priorkit_jointebm.settings import ChainSettings, JointEbmSettings

__all__ = ["ChainSettings", "JointEbmPrior", "JointEbmSettings"]
