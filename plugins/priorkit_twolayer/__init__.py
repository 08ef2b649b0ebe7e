"""A small hierarchical VAE: vector latents in a chain, the picture decoded from the bottom one."""

from priorkit_twolayer.settings import TwoLayerSettings
from priorkit_twolayer.twolayer import TwoLayer

__all__ = ["TwoLayer", "TwoLayerSettings"]
