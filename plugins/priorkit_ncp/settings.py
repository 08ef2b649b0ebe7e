"""Options of the noise-contrastive prior."""

from typing import Literal

from pydantic import Field

from priorkit.core import OptimiserSettings, Settings
from priorkit.energies import BaseSettings, EnergySettings, LabelSettings

__all__ = ["NcpSettings"]


class NcpSettings(Settings):
    """The noise-contrastive prior."""

    energy: EnergySettings = EnergySettings(width=128, dropout=0.1)
    """The classifier of each layer; its `coupling` has no meaning here, `context` stands in its place."""
    energy_input: Literal["u", "z"] = "u"
    """What the classifiers read: the noise u_i (cheap) or the latent z_i (the papers)."""
    context: Literal["none", "decoder", "upper", "both"] = "upper"
    """What a classifier is told of the layers above. upper: all that it reads of them, flattened; decoder: the generator's
    features before the layer; both: the two together; none: nothing, as the papers write it, which in u-space leaves the
    layers independent."""
    context_channels: int = Field(default=8, ge=1)
    """Channels to which a 1x1 convolution reduces the decoder's feature map before it stands beside the layer."""
    bound: float | None = Field(default=None, gt=0)
    """b of l = b tanh(l / b), which keeps each layer's log ratio in (-b, b); None leaves it free."""
    sampling: Literal["sir", "langevin"] = "sir"
    """How a layer is drawn given those above it. sir: the best of `proposals` by chance, in proportion to their ratios;
    langevin: a chain of the run's sampler, whichever that is."""
    proposals: int = Field(default=500, ge=1)
    """Proposals per layer and sample of `sir`."""
    chunk: int = Field(default=16_384, ge=1)
    """Proposals evaluated at once over the whole batch; memory grows with it (at least one for each sample)."""
    base: BaseSettings = BaseSettings()
    """What the ratios are ratios to, learnt in a stage before them; draws propose from it."""
    labels: tuple[LabelSettings, ...] = ()
    """Attributes that samples can be asked for."""
    optimiser: OptimiserSettings = OptimiserSettings(lr=1e-3, schedule="cosine", lr_min=1e-5, clip=10.0)
    """How the classifiers are optimised, all together."""
