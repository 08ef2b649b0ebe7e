"""Options of the diffusion prior."""

from typing import Literal

from pydantic import Field

from priorkit.core import OptimiserSettings, Settings
from priorkit.energies import EnergySettings, LabelSettings

__all__ = ["DiffusionSettings"]


class DiffusionSettings(Settings):
    """The diffusion prior."""

    levels: int = Field(default=6, ge=1, le=501)
    """T, the number of noise levels, each with its conditional energy (3 in the paper, and 6 in its ablation)."""
    network: Literal["modulated", "paper"] = "modulated"
    """modulated: `energy`, its features scaled and shifted by level; paper: one spectrally normalised residual network a
    layer as in the released code, of `energy.channels`, for layers that are square maps."""
    energy: EnergySettings = EnergySettings(width=128, dropout=0.1)
    """The network of all levels."""
    energy_input: Literal["u", "z"] = "u"
    """What the network reads: the noise u_t (cheap) or the latent z = T(u_t) (the paper and its code)."""
    chain: Literal["sampler", "paper"] = "sampler"
    """sampler: the run's sampler on each level's conditional density, in coordinates where that is near N(0, I); paper:
    Langevin in u_t with the step s_t, its energies the network's outputs over s_t, for as many steps as the sampler's."""
    start: Literal["base", "noised"] = "base"
    """Where a level's chain starts: base, at a draw of the conditional density with F = 0, N(a v, sigma^2); noised, at v
    itself, the state of the level above (the paper; chain=paper always does)."""
    proposals: int = Field(default=8, ge=1)
    """With start=base: draws for each chain, of which one is taken in proportion to e^F."""
    base_step: float = Field(default=3e-5, gt=0)
    """b of the paper's steps s_t = b (S_t / S_0) sigma_{t+1}^2."""
    training_steps: int | None = Field(default=10, ge=1)
    """Steps of the chains that give the negatives while training; None takes the sampler's own."""
    retune: int = Field(default=500, ge=1)
    """Training steps between pilot runs that choose the levels' step sizes, where the sampler chooses its own."""
    loss_weight: Literal["per", "none"] = "per"
    """per: each level's loss is a difference of its energies (the network's outputs over s_t, with chain=paper, by which
    level 0 outweighs the others); none: of the network's outputs.  Without chain=paper the two are the same."""
    bound: float | None = Field(default=4.0, gt=0)
    """b of F = b tanh(f / b), which keeps the energies of every level in (-b, b), so that chains can follow while they are
    learnt; None leaves them free, as in the paper, and needs a lower learning rate."""
    labels: tuple[LabelSettings, ...] = ()
    """Attributes that samples can be asked for, coupled to level 0."""
    optimiser: OptimiserSettings = OptimiserSettings(lr=3e-4, schedule="cosine", lr_min=1e-5, clip=10.0)
    """How the energies are optimised."""
