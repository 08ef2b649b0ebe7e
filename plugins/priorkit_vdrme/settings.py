"""Options of the variational diffusion-recovery prior."""

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from priorkit.core import OptimiserSettings, Settings
from priorkit_vdrme.third_party_networks import network_options

__all__ = ["NetSettings", "VdrmeSettings"]

OF_MLP = ("width", "depth", "features", "dropout")


class NetSettings(Settings):
    """A time-conditional residual network over the flat latent."""

    network: str = "mlp"
    """mlp: the residual network that the other options describe; else the import string `module:Class` of a
    `priorkit.energies.scale_network.ScaleNetwork` in a module that a plugin is declared in, such as
    priorkit_diffusers:UNet2D or priorkit_diffusers:DiT (extra `diffusers`)."""
    options: dict[str, Any] = Field(default_factory=dict, validate_default=True)
    """Options of a network that is named by its import string."""
    width: int = Field(default=128, ge=1)
    """Hidden width."""
    depth: int = Field(default=2, ge=1)
    """Residual blocks."""
    features: Literal["auto", "plain", "fourier"] = "auto"
    """How the latent is read: as it is, or with random Fourier features; auto: fourier for at most 3 coordinates, where a
    density may have edges."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout in each block while training."""

    @field_validator("options")
    @classmethod
    def _complete(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """Every option of the network, spelled out."""
        name = info.data.get("network", "mlp")
        if name == "mlp":
            if value:
                raise ValueError("the mlp has no options of its own; name a network")
            return value
        return network_options(name, value)


class VdrmeSettings(Settings):
    """The VDRME prior."""

    scales: int = Field(default=4, ge=1)
    """K, the number of conditional energies and of generator calls per sample (4, 6 or 8 in the paper)."""
    spacing: Literal["uniform", "quadratic"] = "uniform"
    """Where the K + 1 levels lie on the grid of 1,000 diffusion times, from 0 to 999: evenly, or as the squares of 0 ... K,
    which makes the steps near the data finer."""
    pairs: Literal["markov", "shared_noise"] = "markov"
    """How a real pair is made. markov: x_{i+1} is x_i diffused further, as the recovery term assumes; shared_noise: both
    come from the same x_0 and the same noise (the paper)."""
    predicts: Literal["velocity", "noise"] = "velocity"
    """What the generator's network puts out: the noise e (the paper), or v with e = S x + A v, which is the same generator
    in coordinates that stay well conditioned at the top scale."""
    start: Literal["gaussian", "silent"] = "gaussian"
    """Where the generators start. gaussian: at the exact conditionals of N(0, I), a x_{i+1} + b z, so that training starts
    at the Gaussian prior; silent: at generators that ignore the injected noise (the paper)."""
    entropy: Literal["auto", "nearest", "jsd"] = "auto"
    """nearest: distance to the nearest of `draws` draws; jsd: Jensen-Shannon mutual information with the injected noise
    (a third network); auto: nearest for at most 64 coordinates (the paper: in the plane, and jsd for images)."""
    draws: int = Field(default=2, ge=2)
    """Draws for each condition in the nearest-neighbour entropy (2 in the paper); more are closer to the entropy."""
    entropy_weight: float = Field(default=1.0, ge=0)
    """lambda_e, the weight of the generator's entropy."""
    energy_weight: float = Field(default=1.0, ge=0)
    """w_e, the weight of the energy in the generator's loss."""
    recovery_weight: float = Field(default=1.0, ge=0)
    """w_r, the weight of the recovery quadratic in the generator's loss."""
    gradient_penalty: float = Field(default=0.1, ge=0)
    """Weight of the squared gradient norm of the energies' network at real points (0.01 in the paper)."""
    bound: float | None = Field(default=4.0, gt=0)
    """b of f = b tanh(f / b), which keeps the log ratio of each scale in (-b, b) and its slope from running away; None
    leaves it free, as in the paper."""
    refine: int = Field(default=0, ge=0)
    """Steps of a Markov chain on the conditional energy that finish what a generator draws, in the prior's draws and in the
    fakes that the energies learn from; 0 for none (the paper: one call a scale)."""
    refine_draws: int | None = Field(default=None, ge=0)
    """The same in the prior's draws; None takes `refine`."""
    classes: int = Field(default=0, ge=0)
    """Number of classes that samples can be asked for; 0 for none.  Takes data with labels."""
    classes_weight: float = Field(default=1.0, ge=0)
    """Weight of the classifier's cross-entropy in the energy's objective."""
    energy: NetSettings = NetSettings(dropout=0.1)
    """The energies' network; the classifier and the entropy network have its size."""
    generator: NetSettings = NetSettings()
    """The generators' network."""
    energy_optimiser: OptimiserSettings = OptimiserSettings(
        lr=1e-3, betas=(0.0, 0.999), eps=1e-12, schedule="cosine", lr_min=1e-6, clip=10.0
    )
    """How the energies are optimised."""
    generator_optimiser: OptimiserSettings = OptimiserSettings(
        lr=1e-3, betas=(0.3, 0.999), eps=1e-12, schedule="cosine", lr_min=1e-6, clip=10.0
    )
    """How the generators are optimised."""
    entropy_optimiser: OptimiserSettings = OptimiserSettings(
        lr=1e-3, betas=(0.3, 0.999), eps=1e-12, schedule="cosine", lr_min=1e-6, clip=10.0
    )
    """How the entropy network is optimised."""

    @field_validator("energy", "generator")
    @classmethod
    def _heard(cls, value: NetSettings, info: ValidationInfo) -> NetSettings:
        """Refuse options of the mlp that another network would not hear; a resolved file spells out their defaults."""
        defaults = (cls.model_fields[str(info.field_name)].default, NetSettings())
        changed = [name for name in OF_MLP if getattr(value, name) not in [getattr(known, name) for known in defaults]]
        unheard = [name for name in changed if name in value.model_fields_set]
        if value.network != "mlp" and unheard:
            raise ValueError(
                f"{', '.join(unheard)}: options of the mlp, which {value.network} does not hear; its own stand under options"
            )
        return value
