"""Options of the diffusion prior."""

from typing import Literal

from pydantic import Field

from priorkit.core import OptimiserSettings, TopLayersSettings
from priorkit.energies import EnergySettings, LabelSettings

__all__ = ["DiffusionSettings"]


class DiffusionSettings(TopLayersSettings):
    """The diffusion prior."""

    levels: int = Field(default=6, ge=1, le=501)
    """T, the number of noise levels, each with a conditional energy (3 in the paper, 6 in its ablation)."""
    network: Literal["modulated", "paper"] = "modulated"
    """modulated: `energy`, its features scaled and shifted by level; paper: one spectrally normalised residual network
    per layer with `energy.channels` channels, as in the released code, for layers that are square maps."""
    energy: EnergySettings = EnergySettings(width=128, dropout=0.1)
    """The network of all levels."""
    energy_input: Literal["u", "z"] = "u"
    """What the network reads: the noise u_t (cheap) or the latent z = T(u_t) (the paper and its code)."""
    chain: Literal["sampler", "paper"] = "sampler"
    """sampler: the run's sampler on each level's conditional density, in coordinates in which it is close to N(0, I);
    paper: Langevin in u_t with step size s_t and energies equal to the network's outputs divided by s_t, with the
    sampler's number of steps."""
    start: Literal["base", "noised"] = "base"
    """Initial state of a level's chain. base: a sample of the conditional density with F = 0, N(a v, sigma^2); noised:
    v itself, the state of the level above (the paper, and always with chain=paper)."""
    proposals: int = Field(default=8, ge=1)
    """With start=base: number of proposals per chain; one is selected with probability proportional to e^F."""
    base_step: float = Field(default=3e-5, gt=0)
    """b of the paper's steps s_t = b (S_t / S_0) sigma_{t+1}^2."""
    training_steps: int | None = Field(default=10, ge=1)
    """Number of steps of the chains that produce negatives in training; none: the sampler's."""
    retune: int = Field(default=500, ge=1)
    """Training steps between the pilot runs that adapt the step size of each level, if the sampler adapts its step size."""
    loss_weight: Literal["per", "none"] = "per"
    """per: each level's loss is a difference of its energies (with chain=paper, the network's outputs divided by s_t,
    which gives level 0 the largest weight); none: a difference of the network's outputs. Without chain=paper the two
    are the same."""
    bound: float | None = Field(default=4.0, gt=0)
    """b in F = b tanh(f / b), which bounds the energies of every level to (-b, b), so that the chains keep up with
    training; none: no bound, as in the paper, which needs a lower learning rate."""
    labels: tuple[LabelSettings, ...] = ()
    """Attributes for conditional sampling, coupled to level 0."""
    optimiser: OptimiserSettings = OptimiserSettings(lr=3e-4, schedule="cosine", lr_min=1e-5, clip=10.0)
    """Optimiser of the energies."""
