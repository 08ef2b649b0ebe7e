"""Options of the maximum-likelihood energy-based prior."""

from typing import Literal

from pydantic import Field, PositiveFloat

from priorkit.core import OptimiserSettings, Settings, TopLayersSettings
from priorkit.energies import EnergySettings, LabelSettings, RatioSettings

__all__ = ["ChainSettings", "JointEbmSettings"]


class ChainSettings(Settings):
    """The Markov chains for the negatives in training; samples are drawn by the run's sampler."""

    start: Literal["persistent", "noise"] = "persistent"
    """Initial state of the chains. persistent: chains continue from one training step to the next; noise: new chains
    from the base at every training step (short-run Langevin, as in the papers), for which the run's sampler should be
    the same chain."""
    steps: int = Field(default=5, ge=1)
    """Steps per chain and training step (papers, from noise: 10 on a deep hierarchy, 60 on two layers)."""
    step_size: PositiveFloat = 0.5
    """Step size s: a step moves by s/2 times the gradient and sqrt(s) times noise; the initial value if `target` is set."""
    adjust: bool = True
    """Accept or reject each step, so that the chain has no discretisation bias (MALA); false: unadjusted Langevin
    (papers)."""
    target: float | None = Field(default=0.574, gt=0, lt=1)
    """Target acceptance rate to which the step size is adapted in training; none: a fixed step size. It needs `adjust`."""
    chains: int = Field(default=1_000, ge=1)
    """Number of persistent chains; each training step updates as many of them as the batch size."""
    refresh: float = Field(default=0.1, ge=0, le=1)
    """Fraction of the persistent chains updated in a step that restart, each at one of 32 samples of the base selected
    with probability proportional to r; this moves mass between modes of p that no chain crosses."""


class JointEbmSettings(TopLayersSettings, RatioSettings):
    """The maximum-likelihood energy-based prior."""

    energy: EnergySettings = EnergySettings(width=128, dropout=0.3)
    """The network F; coupled by default, separable in the papers."""
    energy_input: Literal["u", "z"] = "u"
    """What the network reads: the noise u (cheap) or the latent z = T(u) (the papers)."""
    base_density: Literal["u", "z"] = "u"
    """u: p(u) = exp(F) N(u; 0, I) / Z, the density of u.  z: the target of the released code, which uses the density of
    z as that of u and so divides by the product of all sigma_i(u)."""
    chain: ChainSettings = ChainSettings()
    """The training chains."""
    bound: float | None = Field(default=4.0, gt=0)
    """b in f = b tanh(f / b), which bounds each output of the network to (-b, b); none: no bound."""
    energy_l2: float = Field(default=0.0, ge=0)
    """Weight of the mean of F^2 at positives and negatives, a penalty that keeps energies near 0."""
    labels: tuple[LabelSettings, ...] = ()
    """Attributes for conditional sampling."""
    optimiser: OptimiserSettings = OptimiserSettings(lr=2e-4, schedule="cosine", lr_min=1e-5, clip=10.0)
    """Optimiser of the energy (papers: lr 2e-5, betas 0.99 and 0.999, weight decay 3e-5)."""
