"""Options of the telescoping prior."""

from typing import Literal

from pydantic import Field, PositiveFloat

from priorkit.core import OptimiserSettings, TopLayersSettings
from priorkit.energies import EnergySettings, LabelSettings, RatioSettings
from priorkit.errors import UsageError

__all__ = ["TreSettings"]


class TreSettings(TopLayersSettings, RatioSettings):
    """The telescoping density-ratio prior."""

    waymarks: int = Field(default=6, ge=1)
    """K, the number of bridges, each between two neighbouring waymarks: the data, K - 1 mixtures of data and noise, and
    the noise, N(0, I). 1 is a single ratio of data to noise. With `base_prior` its samples are the noise."""
    spacing: Literal["angle", "noise"] = "angle"
    """Position of waymark k of K, with t = (k / K)^power. angle: signal a = cos(pi t / 2), noise sin(pi t / 2); noise:
    noise t (the paper), signal sqrt(1 - t^2)."""
    power: PositiveFloat = 1.0
    """Exponent in t = (k / K)^power; above 1, waymarks are closer together near the data."""
    energy: EnergySettings = EnergySettings(width=128, dropout=0.1)
    """The network that all bridges share, with an output for each bridge, or for each bridge and layer."""
    logit: Literal["auto", "joint", "layer"] = "auto"
    """joint: one classifier per bridge on the sum of logits, which estimates the joint ratio; layer: one classifier per
    bridge and layer, which needs a separable energy and estimates ratios of the layers' marginals; auto: layer if the
    energy has one network per layer, else joint."""
    bound: float | None = Field(default=10.0, gt=0)
    """b in l = b tanh(l / b), which bounds each output of the network, the log ratio of a bridge, to (-b, b); none: no
    bound, as in the paper."""
    labels: tuple[LabelSettings, ...] = ()
    """Attributes for conditional sampling."""
    optimiser: OptimiserSettings = OptimiserSettings(lr=1e-3, schedule="cosine", lr_min=1e-5, clip=10.0)
    """Optimiser of the energy."""

    def logit_per_layer(self, separable: bool) -> bool:
        """Return whether each layer has classifiers of its own. Raises UsageError for a coupled energy with
        `logit=layer`."""
        if self.logit == "layer" and not separable:
            raise UsageError("prior.logit: 'layer' needs one network per layer; add --set prior.energy.coupling=separable.")
        return separable and self.logit != "joint"
