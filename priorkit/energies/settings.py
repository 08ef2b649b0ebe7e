"""Options of an energy network."""

from typing import Literal

from pydantic import Field

from priorkit.core import Layout, Settings
from priorkit.energies.perceptron import Activation
from priorkit.errors import UsageError

__all__ = ["Coupling", "EnergySettings"]

Coupling = Literal["coupled", "separable", "conditional"]

COUPLED_UP_TO = 256
"""Latents.  Beyond, one logit tells posterior from prior almost surely and has nothing left to say of the ratio, while a
logit per layer still has (`benchmarks/couplings.py`)."""


class EnergySettings(Settings):
    """What an energy network looks like."""

    coupling: Literal["auto", "coupled", "separable", "conditional"] = "auto"
    """coupled: features of each layer, then one network over all of them; separable: a sum of one network per layer, which
    in u-space cannot express any dependence between layers; conditional: one network per layer that is told of the layers
    above (multistage), drawn from the top down; auto: coupled up to 256 latents, beyond that conditional where the prior
    offers it, else separable."""
    network: Literal["auto", "mlp", "fourier", "local", "conv", "residual", "resmlp", "resmap"] = "auto"
    """What reads a layer. mlp: the flattened layer; fourier: an mlp on random Fourier features of it; resmlp: a residual mlp
    with layer normalisation; resmap: residual convolutions that also see the mean of the map; local: a sum of local terms of
    a map; conv: strided convolutions (JointEBM's released code); residual: the multi-stage paper's Table 10; auto: fourier
    for at most 3 coordinates, local for maps of side 8 or more, resmlp for other layers of 64 latents or more, else mlp."""
    width: int = Field(default=256, ge=1)
    """Hidden width of linear layers; `resmlp` is twice as wide."""
    channels: int = Field(default=64, ge=1)
    """Channels of convolutions."""
    depth: int = Field(default=2, ge=1)
    """Hidden layers of an mlp, residual blocks of `resmlp` and `resmap`, residual convolutions of `local`; of a coupled
    energy, hidden layers above the layers' features."""
    blocks: int = Field(default=8, ge=0)
    """Residual blocks a resolution and residual linear blocks of `residual` (8 in the paper)."""
    activation: Activation = "silu"
    """Of the hidden linear layers of mlp, fourier and coupled networks: leaky_relu (slope 0.2) in JointEBM's code and the
    multi-stage paper's Table 11, gelu in LEBM's code; the other networks have those of their sources."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout after each hidden linear layer while training: a brake on memorising few images."""

    def coupling_on(self, layout: Layout, *, conditional: bool = False) -> Coupling:
        """What `coupling` means for these layers, of a prior that offers `conditional` or not.  Raises UsageError for a
        coupling that the prior does not offer."""
        if self.coupling == "conditional" and not conditional:
            raise UsageError(
                "prior.energy.coupling: this prior does not draw layer by layer, so its energies cannot be conditional; use "
                "--set prior.energy.coupling=separable or coupled, or --prior multistage."
            )
        if self.coupling != "auto":
            return self.coupling
        if layout.dim <= COUPLED_UP_TO:
            return "coupled"
        return "conditional" if conditional else "separable"

    def separable(self, layout: Layout) -> bool:
        """True for one network per layer that reads its layer alone."""
        return self.coupling_on(layout) == "separable"
