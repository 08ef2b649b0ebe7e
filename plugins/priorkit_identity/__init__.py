"""The identity backbone: the data themselves are the latents."""

from priorkit_identity.identity import IdentityBackbone, IdentitySettings, PointMass

__all__ = ["IdentityBackbone", "IdentitySettings", "PointMass"]
