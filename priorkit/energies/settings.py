"""Options of an energy network."""

from typing import Literal

from pydantic import Field

from priorkit.core import Layout, Settings
from priorkit.energies.perceptron import Activation

__all__ = ["EnergySettings"]

COUPLED_UP_TO = 256
"""Latents.  Beyond, one logit tells posterior from prior almost surely and has nothing left to say of the ratio, while a
logit a layer still has (`benchmarks/images.py`)."""


class EnergySettings(Settings):
    """What an energy network looks like."""

    coupling: Literal["auto", "coupled", "separable"] = "auto"
    """coupled: features of each layer, then one network over all of them; separable: a sum of one network a layer, which
    in u-space cannot express any dependence between layers; auto: coupled up to 256 latents, else separable."""
    network: Literal["auto", "mlp", "fourier", "local", "conv", "residual"] = "auto"
    """What reads a layer. mlp: the flattened layer; fourier: an mlp on random Fourier features of it; local: a sum
    of local terms of a map; conv: strided convolutions (JointEBM's released code); residual: the multi-stage paper's
    Table 10; auto: fourier for at most 3 coordinates, local for maps of side 4 or more, else mlp."""
    width: int = Field(default=256, ge=1)
    """Hidden width of linear layers."""
    channels: int = Field(default=64, ge=1)
    """Channels of convolutions."""
    depth: int = Field(default=2, ge=1)
    """Hidden layers of an mlp, residual convolutions of `local`; of a coupled energy, hidden layers above the layers'
    features."""
    blocks: int = Field(default=8, ge=0)
    """Residual blocks a resolution and residual linear blocks of `residual` (8 in the paper)."""
    activation: Activation = "silu"
    """Of the hidden linear layers of mlp, fourier and coupled networks: leaky_relu (slope 0.2) in JointEBM's code and the
    multi-stage paper's Table 11, gelu in LEBM's code; the other networks have those of their sources."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout after each hidden linear layer while training: a brake on memorising few images."""

    def separable(self, layout: Layout) -> bool:
        """True for one network a layer."""
        if self.coupling == "auto":
            return layout.dim > COUPLED_UP_TO
        return self.coupling == "separable"
