"""Options of the multi-stage prior."""

from math import inf
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from priorkit.core import OptimiserSettings, Planned
from priorkit.energies import BaseSettings, ContextKind, EnergySettings, LabelSettings, RatioSettings
from priorkit.energies.base_settings import GAUSSIAN
from priorkit.errors import UsageError

__all__ = ["MultistageSettings"]

STAGES = 3
"""Value of `stages: auto` on a fixed base, as in the paper."""
JOINT_BOUND = 3.0
"""Value of `bound: auto` for a joint logit, chosen on digits (see the results page)."""


class MultistageSettings(RatioSettings):
    """The multi-stage prior."""

    planned: ClassVar[Planned] = Planned(work=("pool_size",), pilot={"adaptive": False})

    stages: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """M, the number of stages, each of which trains one density ratio (3 in the paper). auto: 3; after a
    trained conditional base 1: the steps are divided evenly, and a second ratio was rarely better than chance."""
    energy: EnergySettings = EnergySettings(width=128, channels=32, dropout=0.1)
    """The network of each stage."""
    context: ContextKind = "upper"
    """What a conditional energy is conditioned on. upper: the layers above; decoder: the generator's features before
    the layer; both: the two together; none: nothing."""
    layers: str | int = "auto"
    """Layers with conditional ratios: all, top:k, bottom:k or numbers from 0 (top); the other layers keep the base.
    auto: the layers with fewer than 512 latents if there are any, else all. On images of 28 and 32 pixels, classifiers
    of the larger layers against the base stayed at chance level within the number of steps that is practical on a CPU,
    and cost most of the time."""
    base: BaseSettings = BaseSettings()
    """With conditional energies: the density in the denominator of the first ratio; with others it is `base_prior`."""
    context_channels: int = Field(default=16, ge=1)
    """Channels of the context that is concatenated to a map, for the networks `local`, `conv` and `residual`."""
    energy_input: Literal["u", "z"] = "u"
    """What the networks read: the noise u (cheap; the paper's tables) or the latent z = T(u) (the paper's text)."""
    logit: Literal["auto", "joint", "layer"] = "auto"
    """joint: one classifier on the sum of logits, which estimates the joint ratio; layer: one classifier per layer (the
    paper's figures), which needs a separable or conditional energy and estimates ratios of the layers' marginals or
    conditionals; auto: layer if the energy has one network per layer, else joint."""
    negatives: Literal["pool", "chain", "posterior"] = "pool"
    """Negatives of a stage. pool: samples drawn once per stage, since the stage's base distribution is fixed; chain:
    new samples at every step (the paper); posterior: in stage m > 1, the posterior samples from the end of stage m - 1,
    in place of samples of p_{m-1} (the paper, 3.3.1). posterior is for joint training only, in which the posterior
    changes; with a fixed posterior, positives and negatives would have the same distribution."""
    pool_size: int = Field(default=20_000, ge=1)
    """Number of samples in the pool of a stage."""
    sampling: Literal["joint", "progressive", "stagewise"] = "joint"
    """Chains of the sampler. joint: one chain on the product of all stages; progressive: one chain per stage, on the
    product of the stages up to it, started at the end of the previous chain; stagewise: as progressive, but each chain
    uses only the ratio of its stage (the paper's text); these chains must be short, since each one loses the effect of
    earlier stages."""
    bound: float | Literal["auto"] | None = "auto"
    """b > 0 in l = b tanh(l / b), which bounds the log ratio of each stage to (-b, b): a stage bridges a limited
    distance and does not extrapolate to large ratios. none: no bound, as in the paper; auto: 3 for a joint logit, none
    for a logit per layer."""
    labels: tuple[LabelSettings, ...] = ()
    """Attributes for conditional sampling, learnt in the first stage: with a joint logit by the paper's classifier of
    K+1 classes, with a logit per layer by additional classifiers."""
    adaptive: bool = True
    """Adapt each stage to held-out points: each classifier's logit is multiplied by the factor between 0 and 1 with the
    lowest held-out loss; a classifier no better than chance is left out, and if all are, no further stage is
    trained."""
    adaptive_auc: float = Field(default=0.52, ge=0.5, le=1)
    """Held-out AUC below which a classifier counts as no better than chance."""
    optimiser: OptimiserSettings = OptimiserSettings(lr=1e-3, schedule="cosine", lr_min=1e-5, clip=10.0)
    """Optimiser of each stage."""

    @field_validator("bound")
    @classmethod
    def _bound_is_positive(cls, value: float | str | None) -> float | str | None:
        if isinstance(value, float) and not 0 < value < inf:
            raise ValueError(f"expected a number above 0, null or auto, got {value}")
        return value

    def ratios(self, trained_base: bool) -> int:
        """Return the number of density ratios."""
        if self.stages == "auto":
            return 1 if trained_base else STAGES
        return int(self.stages)

    def logit_per_layer(self, coupling: str) -> bool:
        """Return whether each layer has its own classifier under this coupling of the energies. Raises UsageError if the
        settings are incompatible."""
        found = coupling != "coupled" and self.logit != "joint"
        if self.logit == "layer" and not found:
            raise UsageError("prior.logit: 'layer' needs one network per layer; add --set prior.energy.coupling=separable.")
        if coupling == "conditional" and not found:
            raise UsageError("prior.logit: conditional energies have a classifier per layer; add --set prior.logit=layer.")
        if coupling == "conditional" and self.sampling != "joint":
            raise UsageError(
                "prior.sampling: conditional energies are sampled with one chain per layer; add --set prior.sampling=joint."
            )
        return found

    def check_base(self, coupling: str) -> None:
        """Raise UsageError for another prior as the base of conditional ratios."""
        if coupling == "conditional" and self.base_prior != GAUSSIAN:
            raise UsageError(
                "prior.base_prior: conditional energies, one per layer given those above, have a base of their own "
                f"(prior.base), which cannot be {self.base_prior}; add --set prior.energy.coupling=coupled or separable, or "
                "leave prior.base_prior out."
            )

    def logit_bound(self, by_layer: bool) -> float | None:
        """b of `bound`, or None for free logits."""
        if self.bound == "auto":
            return None if by_layer else JOINT_BOUND
        return self.bound if self.bound is None else float(self.bound)
