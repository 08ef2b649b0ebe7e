"""Any trained VAE as a backbone: its own functions, without a package."""

from priorkit.wrapping.backbone import WrappedBackbone, see_wrapped
from priorkit.wrapping.settings import WrappedSettings
from priorkit.wrapping.wrap import wrap

__all__ = ["WrappedBackbone", "WrappedSettings", "see_wrapped", "wrap"]
