"""Options of an energy network."""

from typing import Literal

from pydantic import Field

from priorkit.core import Settings

__all__ = ["EnergySettings"]


class EnergySettings(Settings):
    """What an energy network looks like."""

    coupling: Literal["coupled", "separable"] = "coupled"
    """coupled: features of each layer, then one network over all of them; separable: a sum of one network a layer, which
    in u-space cannot express any dependence between layers."""
    network: Literal["auto", "mlp", "fourier", "conv", "residual"] = "auto"
    """What reads a layer. mlp: the flattened layer; fourier: an mlp on random Fourier features of it; conv: strided
    convolutions (JointEBM's released code); residual: the multi-stage paper's Table 10; auto: fourier for at most 3
    coordinates, conv for square maps of side 8 or more, else mlp."""
    width: int = Field(default=256, ge=1)
    """Hidden width of linear layers."""
    channels: int = Field(default=64, ge=1)
    """Channels of convolutions."""
    depth: int = Field(default=2, ge=1)
    """Hidden layers of an mlp; of a coupled energy, hidden layers above the layers' features."""
    blocks: int = Field(default=8, ge=0)
    """Residual blocks a resolution and residual linear blocks of `residual` (8 in the paper)."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout after each hidden linear layer while training: a brake on memorising few images."""
