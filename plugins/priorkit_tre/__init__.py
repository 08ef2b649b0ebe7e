"""Telescoping density-ratio estimation: ratios between neighbouring noise levels, learnt at once and without chains."""

from priorkit_tre.prior import TrePrior
from priorkit_tre.settings import TreSettings

__all__ = ["TrePrior", "TreSettings"]
