"""Options of the multi-stage prior."""

from math import inf
from typing import Literal

from pydantic import Field, field_validator

from priorkit.core import Layout, OptimiserSettings, Settings
from priorkit.energies import BaseSettings, ContextKind, EnergySettings, LabelSettings, layers_for_ratios
from priorkit.errors import UsageError

__all__ = ["MultistageSettings"]

JOINT_BOUND = 3.0
"""What `bound: auto` means for a joint logit: chosen on digits, as the results page says."""


class MultistageSettings(Settings):
    """The multi-stage prior."""

    stages: int = Field(default=3, ge=1)
    """M, the number of ratios trained one after the other (3 in the paper)."""
    energy: EnergySettings = EnergySettings(width=128, channels=32, dropout=0.1)
    """The network of each stage."""
    context: ContextKind = "upper"
    """What a conditional energy is told of the layers above. upper: all that it reads of them; decoder: the generator's
    features before the layer; both: the two together; none: nothing."""
    layers: str | int = "auto"
    """The layers that conditional ratios are learnt for: all, top:k, bottom:k or numbers from 0 (top); the others keep the
    base. auto: the layers of fewer than 512 latents, where there are any, else all.  On images of 28 and 32 pixels the
    ratios of the larger layers to the base stayed at chance in the steps that a CPU can take, and cost most of the time."""
    base: BaseSettings = BaseSettings()
    """With conditional energies: what the first ratio is one to."""
    context_channels: int = Field(default=16, ge=1)
    """Channels of the context beside a map, for the networks that read it so (`local`, `conv`, `residual`)."""
    energy_input: Literal["u", "z"] = "u"
    """What the networks read: the noise u (the paper's tables; cheap) or the latent z = T(u) (its text)."""
    logit: Literal["auto", "joint", "layer"] = "auto"
    """joint: one classifier on the sum of logits, which estimates the joint ratio; layer: one classifier per layer (the
    paper's figures), which needs a separable or a conditional energy and estimates ratios of the layers' marginals or
    conditionals; auto: layer where the energy has one network per layer."""
    negatives: Literal["pool", "chain", "posterior"] = "pool"
    """pool: drawn once a stage, since the stage's base distribution is fixed; chain: new ones at every step (the paper).
    posterior: those of stage m > 1 are the posterior samples with which stage m - 1 ended, in place of samples of p_{m-1}
    (the paper, 3.3.1).  Only for joint training, whose posterior moves on: of a fixed posterior nothing is left to tell."""
    pool_size: int = Field(default=20_000, ge=1)
    """Points in a stage's pool."""
    sampling: Literal["joint", "progressive", "stagewise"] = "joint"
    """joint: one chain on all stages; progressive: a chain per stage, each from where the one before ended, on the stages up
    to its own; stagewise: the same with chains on their own stage's ratio alone (the paper's words), which have to be short,
    since each forgets the stages before."""
    bound: float | Literal["auto"] | None = "auto"
    """b > 0 of l = b tanh(l / b), which keeps each stage's log ratio in (-b, b): a stage is a bridge of limited length and
    is never sure of what it has not seen.  None leaves the logits free, as in the paper; auto: 3 for a joint logit, none
    for a logit per layer."""
    labels: tuple[LabelSettings, ...] = ()
    """Attributes that samples can be asked for, learnt in the first stage: with a joint logit the paper's K+1 classes, with
    a logit per layer by classifiers beside the ratio."""
    adaptive: bool = True
    """Judge each stage on held-out points: the logit of a classifier (of one layer, where each has its own) is multiplied by
    the factor between 0 and 1 that has the least loss there; one that is no better than chance is left out, and where none
    is better no further stage is trained."""
    adaptive_auc: float = Field(default=0.52, ge=0.5, le=1)
    """The held-out AUC below which a classifier counts as no better than chance."""
    optimiser: OptimiserSettings = OptimiserSettings(lr=1e-3, schedule="cosine", lr_min=1e-5, clip=10.0)
    """How each stage is optimised."""

    @field_validator("bound")
    @classmethod
    def _bound_is_positive(cls, value: float | str | None) -> float | str | None:
        if isinstance(value, float) and not 0 < value < inf:
            raise ValueError(f"expected a number above 0, null or auto, got {value}")
        return value

    def ratio_layers(self, layout: Layout) -> tuple[int, ...]:
        """The layers that conditional ratios are learnt for, as `layers` says."""
        return layers_for_ratios(layout) if self.layers == "auto" else layout.select(str(self.layers))

    def logit_per_layer(self, coupling: str) -> bool:
        """Whether each layer has a classifier of its own under this coupling of the energies.  Raises UsageError where
        settings do not go together."""
        found = coupling != "coupled" and self.logit != "joint"
        if self.logit == "layer" and not found:
            raise UsageError("prior.logit: 'layer' needs one network per layer; add --set prior.energy.coupling=separable.")
        if coupling == "conditional" and not found:
            raise UsageError("prior.logit: conditional energies have a classifier per layer; add --set prior.logit=layer.")
        if coupling == "conditional" and self.sampling != "joint":
            raise UsageError(
                "prior.sampling: conditional energies are drawn by one chain per layer; add --set prior.sampling=joint."
            )
        return found

    def logit_bound(self, by_layer: bool) -> float | None:
        """b of `bound`, or None for free logits."""
        if self.bound == "auto":
            return None if by_layer else JOINT_BOUND
        return self.bound if self.bound is None else float(self.bound)
