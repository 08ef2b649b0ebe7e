"""VDRME: a multiscale energy prior whose chains are replaced by conditional generators, one call per scale."""

from priorkit_vdrme.prior import VdrmePrior
from priorkit_vdrme.settings import VdrmeSettings

__all__ = ["VdrmePrior", "VdrmeSettings"]
