"""VampPrior and exemplar prior: mixtures of the posteriors of pseudo-inputs, or of training images."""

from priorkit_vampprior.prior import VampPrior
from priorkit_vampprior.settings import VampPriorSettings

__all__ = ["VampPrior", "VampPriorSettings"]
