"""The multi-stage noise-contrastive prior."""

from priorkit_multistage.prior import MultistagePrior
from priorkit_multistage.settings import MultistageSettings

__all__ = ["MultistagePrior", "MultistageSettings"]
