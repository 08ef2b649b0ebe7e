"""A normalising-flow prior for priorkit, on the library zuko."""

from priorkit_flow.prior import FlowPrior, FlowSettings

__all__ = ["FlowPrior", "FlowSettings"]
