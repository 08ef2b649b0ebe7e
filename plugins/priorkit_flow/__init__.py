"""Normalising flows on u, by the library zuko: an exact density and exact samples, trained by maximum likelihood."""

from priorkit_flow.prior import FlowPrior
from priorkit_flow.settings import FlowSettings

__all__ = ["FlowPrior", "FlowSettings"]
