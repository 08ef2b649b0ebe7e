"""Options of the joint trainer."""

from typing import ClassVar, Literal

from pydantic import Field

from priorkit.core import OptimiserSettings, Planned, PosteriorChainSettings, Settings

__all__ = ["JointSettings"]


class JointSettings(Settings):
    """How long generator and prior are trained together, and how posterior samples are drawn."""

    posterior: Literal["chain", "variational"] = "chain"
    """How posterior samples are drawn, in training and after it. chain: Langevin chains on p(u | x), without an
    inference network; variational: the backbone's inference network, trained with the evidence lower bound."""
    chain: PosteriorChainSettings = PosteriorChainSettings()
    """The chain on p(u | x)."""
    chain_space: Literal["u", "z"] = "u"
    """Space of the chains on p(. | x) and of the generator's prior samples: u, or z as in the papers' released code."""
    share_prior_samples: bool = False
    """Use the prior samples of the generator's gradient as the prior's negatives too, as the released code does, in place of
    separate chains. It needs energies that read z (`prior.energy_input=z`) and a prior that takes them (`jointebm`)."""
    planned: ClassVar[Planned] = Planned(steps=("backbone_steps", "joint_steps"), work=("stage_samples",))

    backbone_steps: int = Field(default=2_000, ge=0)
    """Training steps of the generator alone, under the Gaussian prior, before the prior is trained."""
    joint_steps: int = Field(default=6_000, ge=0)
    """Joint training steps of generator and prior, divided evenly among the prior's stages; of the generator alone if
    the prior has no stages."""
    final_share: float = Field(default=0.1, ge=0, lt=1)
    """Fraction of `joint_steps`, at the end, in which the generator is trained under the final prior of several stages;
    before, the posterior does not include the last ratio."""
    batch: int = Field(default=128, ge=1)
    """Batch size."""
    average: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the exponential moving average of both networks' weights, which replaces the weights at the end of each
    phase; 0: no averaging."""
    optimiser: OptimiserSettings = OptimiserSettings(lr=1e-3, clip=100.0)
    """Optimiser of the generator and the inference network; the prior has its own."""
    decay: float = Field(default=1.0, gt=0, le=1)
    """Factor on the generator's learning rate from one phase to the next; below 1 the posterior changes less and less."""
    warmup: float = Field(default=0.3, ge=0, le=1)
    """variational: fraction of the first phase in which the weight of KL - log r rises to 1."""
    flip: bool = False
    """Flip images horizontally at random (natural images)."""
    stage_samples: int = Field(default=2_000, ge=1)
    """Number of posterior samples of training data, and of held-out data, to initialise and validate the prior's stages
    with."""
    validate_every: int = Field(default=500, ge=0)
    """Steps between validations by held-out reconstructions; 0: no validation."""
