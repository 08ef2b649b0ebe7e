"""Options of the noise-contrastive prior."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from priorkit.core import OptimiserSettings, Settings
from priorkit.energies import BaseSettings, EnergySettings, LabelSettings

__all__ = ["NcpSettings"]


class NcpSettings(Settings):
    """The noise-contrastive prior."""

    earlier: ClassVar[Mapping[str, Any]] = {"layers": "all", "sampling": "sir"}

    energy: EnergySettings = EnergySettings(width=128, dropout=0.1)
    """The classifier of each layer; its `coupling` has no effect, see `context`."""
    energy_input: Literal["u", "z"] = "u"
    """What the classifiers read: the noise u_i (cheap) or the latent z_i (the papers)."""
    context: Literal["none", "decoder", "upper", "both"] = "upper"
    """What a classifier is conditioned on. upper: the layers above, flattened; decoder: the generator's features before
    the layer; both: the two together; none: nothing, as in the papers, which makes the layers independent in
    u-space."""
    layers: str | int = "auto"
    """Layers with a classifier: all, top:k, bottom:k or numbers from 0 (top); the other layers keep the base. auto: the
    layers with fewer than 512 latents if there are any, else all. On images of 28 and 32 pixels, classifiers of the larger
    layers stayed at chance level within the number of steps that is practical on a CPU, and cost most of the time."""
    context_channels: int = Field(default=8, ge=1)
    """Channels to which a 1x1 convolution reduces the decoder's feature map before it is concatenated to the layer."""
    bound: float | None = Field(default=None, gt=0)
    """b in l = b tanh(l / b), which bounds the log ratio of each layer to (-b, b); none: no bound."""
    sampling: Literal["auto", "sir", "langevin"] = "auto"
    """How a layer is sampled given the layers above. sir: sampling-importance-resampling, one of `proposals` selected
    with probability proportional to its ratio; langevin: a chain of the run's sampler, whichever it is; auto: sir in
    layers of up to 64 latents, langevin in larger ones, where hardly any proposal is near the posterior."""
    proposals: int = Field(default=500, ge=1)
    """Number of proposals of `sir` per layer and sample."""
    chunk: int = Field(default=16_384, ge=1)
    """Number of proposals evaluated at once for the whole batch (at least one per sample); memory grows with it."""
    base: BaseSettings = BaseSettings()
    """The density in the denominator of the ratios, learnt in a stage before them; also the proposal distribution."""
    labels: tuple[LabelSettings, ...] = ()
    """Attributes for conditional sampling."""
    optimiser: OptimiserSettings = OptimiserSettings(lr=1e-3, schedule="cosine", lr_min=1e-5, clip=10.0)
    """Optimiser of all classifiers."""
