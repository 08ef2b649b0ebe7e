"""Options of the joint trainer."""

from typing import Literal

from pydantic import Field

from priorkit.core import OptimiserSettings, PosteriorChainSettings, Settings

__all__ = ["JointSettings"]


class JointSettings(Settings):
    """How long generator and prior learn together, and where posterior samples come from."""

    posterior: Literal["chain", "variational"] = "chain"
    """chain: Langevin on p(u | x), at every step and after training, without an inference network.  variational: the
    backbone's inference network, learnt along by the bound."""
    chain: PosteriorChainSettings = PosteriorChainSettings()
    """The chain on p(u | x)."""
    chain_space: Literal["u", "z"] = "u"
    """Where chains on p(. | x) and the generator's prior samples run: u, or z as in the papers' released codes."""
    backbone_steps: int = Field(default=2_000, ge=0)
    """Steps of the generator alone, under the Gaussian prior, before the prior begins to learn."""
    joint_steps: int = Field(default=6_000, ge=0)
    """Steps of generator and prior together, split evenly over the prior's stages; of the generator alone where the prior
    has nothing to learn."""
    final_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of `joint_steps`, the last ones, in which the generator learns under the finished prior of several stages; its
    last ratio is not part of the posterior before."""
    batch: int = Field(default=128, ge=1)
    """Data per step."""
    average: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the averaged weights of both, which take their place at the end of each phase; 0 for none."""
    optimiser: OptimiserSettings = OptimiserSettings(lr=1e-3, clip=100.0)
    """The generator's (and inference network's); the prior has its own."""
    decay: float = Field(default=1.0, gt=0, le=1)
    """Factor on the generator's learning rate from one phase to the next, so that the posterior comes to rest."""
    warmup: float = Field(default=0.3, ge=0, le=1)
    """variational: share of the first phase over which the weight of KL less log r rises to 1."""
    flip: bool = False
    """Mirror images at random (natural images)."""
    stage_samples: int = Field(default=2_000, ge=1)
    """Posterior samples of training data, and of held-out data, that the prior's stages are set up and judged with."""
    validate_every: int = Field(default=500, ge=0)
    """Steps between held-out reconstructions; 0 for none."""
