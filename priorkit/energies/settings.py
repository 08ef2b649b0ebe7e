"""Options of an energy network."""

from typing import Literal

from pydantic import Field

from priorkit.core import Layout, Settings
from priorkit.energies.perceptron import Activation
from priorkit.errors import UsageError

__all__ = ["Coupling", "EnergySettings"]

Coupling = Literal["coupled", "separable", "conditional"]

COUPLED_UP_TO = 256
"""Number of latents. With more, a single logit separates posterior and prior almost perfectly and says little about the
ratio; logits per layer are still informative (`benchmarks/couplings.py`)."""


class EnergySettings(Settings):
    """The architecture of an energy network."""

    coupling: Literal["auto", "coupled", "separable", "conditional"] = "auto"
    """Structure of the energy. coupled: features of each layer, then one network over all of them; separable: a sum of
    one network per layer, which in u-space cannot express any dependence between layers; conditional: one network per
    layer, conditioned on the layers above (multistage), sampled from the top down; auto: coupled up to 256 latents;
    with more, conditional if the prior offers it, else separable."""
    network: Literal["auto", "mlp", "fourier", "local", "conv", "residual", "resmlp", "resmap"] = "auto"
    """Network that reads a layer. mlp: the flattened layer; fourier: an mlp on random Fourier features of it; resmlp: a
    residual mlp with layer normalisation; resmap: residual convolutions that also see the mean of the map; local: a sum
    of local terms of a map; conv: strided convolutions (JointEBM's released code); residual: the multi-stage paper's
    Table 10; auto: fourier for at most 3 coordinates, local for maps of side 8 or more, resmlp for other layers of 64
    latents or more, else mlp."""
    width: int = Field(default=256, ge=1)
    """Hidden width of linear layers; `resmlp` is twice as wide."""
    channels: int = Field(default=64, ge=1)
    """Channels of convolutional networks."""
    depth: int = Field(default=2, ge=1)
    """Number of hidden layers of an mlp, residual blocks of `resmlp` and `resmap`, residual convolutions of `local`; of
    a coupled energy, hidden layers above the layers' features."""
    blocks: int = Field(default=8, ge=0)
    """Residual blocks per resolution, and residual linear blocks, of `residual` (8 in the paper)."""
    activation: Activation = "silu"
    """Activation of the hidden linear layers of mlp, fourier and coupled networks: leaky_relu (slope 0.2) in JointEBM's
    code and the multi-stage paper's Table 11, gelu in LEBM's code; the other networks use the activations of their
    sources."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout after each hidden linear layer in training; it reduces overfitting to small data sets."""

    def coupling_on(self, layout: Layout, *, conditional: bool = False) -> Coupling:
        """Return the coupling for these layers; `conditional` says whether the prior offers that coupling. Raises
        UsageError for a coupling that the prior does not offer."""
        if self.coupling == "conditional" and not conditional:
            raise UsageError(
                "prior.energy.coupling: this prior does not sample layer by layer, which conditional energies need; use "
                "--set prior.energy.coupling=separable or coupled, or --prior multistage."
            )
        if self.coupling != "auto":
            return self.coupling
        if layout.dim <= COUPLED_UP_TO:
            return "coupled"
        return "conditional" if conditional else "separable"

    def separable(self, layout: Layout) -> bool:
        """Return True if there is one network per layer, which reads only its layer."""
        return self.coupling_on(layout) == "separable"
