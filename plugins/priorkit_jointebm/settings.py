"""Options of the maximum-likelihood energy-based prior."""

from typing import Literal

from pydantic import Field, PositiveFloat

from priorkit.core import OptimiserSettings, Settings
from priorkit.energies import EnergySettings, LabelSettings

__all__ = ["ChainSettings", "JointEbmSettings"]


class ChainSettings(Settings):
    """The chains that training draws its negatives from; samples are drawn by the run's sampler."""

    start: Literal["persistent", "noise"] = "persistent"
    """persistent: a set of chains that go on from step to step; noise: new chains from N(0, I) at every step (short-run
    Langevin, the papers'), for which the run's sampler should be the same chain."""
    steps: int = Field(default=5, ge=1)
    """Steps of every chain at each training step (papers, from noise: 10 on a deep hierarchy, 60 on two layers)."""
    step_size: PositiveFloat = 0.5
    """s: a step moves by s/2 times the gradient and sqrt(s) times noise; only the first where `target` is set."""
    adjust: bool = True
    """Accept or refuse each step so that the chain has no bias of discretisation (MALA); False: plain Langevin (papers)."""
    target: float | None = Field(default=0.574, gt=0, lt=1)
    """Acceptance that the step size follows while the energy changes; None keeps it.  Without effect where not `adjust`."""
    chains: int = Field(default=1_000, ge=1)
    """Persistent chains; each training step moves as many of them as its batch has points."""
    refresh: float = Field(default=0.1, ge=0, le=1)
    """Share of the persistent chains moved in a step that begin anew, each at one of 32 draws of N(0, I), chosen in
    proportion to r: what moves mass between parts of p that no chain crosses."""


class JointEbmSettings(Settings):
    """The maximum-likelihood energy-based prior."""

    energy: EnergySettings = EnergySettings(width=128, dropout=0.3)
    """The network F; coupled by default, separable in the papers."""
    energy_input: Literal["u", "z"] = "u"
    """What the network reads: the noise u (cheap) or the latent z = T(u) (the papers)."""
    base_density: Literal["u", "z"] = "u"
    """u: p(u) = exp(F) N(u; 0, I) / Z, the density of u.  z: the target of the released code, which takes the density of z
    for that of u and so divides by the product of all sigma_i(u)."""
    chain: ChainSettings = ChainSettings()
    """The training chains."""
    bound: float | None = Field(default=4.0, gt=0)
    """b of f = b tanh(f / b) at each output of the network, which keeps it in (-b, b); None leaves it free."""
    energy_l2: float = Field(default=0.0, ge=0)
    """Weight of the mean squares of F at positives and negatives, which holds energies near 0."""
    labels: tuple[LabelSettings, ...] = ()
    """Attributes that samples can be asked for."""
    optimiser: OptimiserSettings = OptimiserSettings(lr=2e-4, schedule="cosine", lr_min=1e-5, clip=10.0)
    """How the energy is optimised (papers: lr 2e-5, betas 0.99 and 0.999, weight decay 3e-5)."""
