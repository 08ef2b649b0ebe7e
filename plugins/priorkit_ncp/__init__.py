"""The noise-contrastive prior, layer by layer."""

from priorkit_ncp.prior import NcpPrior
from priorkit_ncp.settings import NcpSettings

__all__ = ["NcpPrior", "NcpSettings"]
