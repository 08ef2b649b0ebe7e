"""A small hierarchical VAE: a chain of vector latents, with the image decoded from the bottom one."""

from priorkit_twolayer.settings import TwoLayerSettings
from priorkit_twolayer.twolayer import TwoLayer

__all__ = ["TwoLayer", "TwoLayerSettings"]
