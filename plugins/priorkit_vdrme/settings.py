"""Options of the variational diffusion-recovery prior."""

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from priorkit.core import OptimiserSettings, Settings, TopLayersSettings
from priorkit_vdrme.third_party_networks import network_options

__all__ = ["NetSettings", "VdrmeSettings"]

FEW = 64
"""Largest number of coordinates whose entropy `auto` estimates from distances."""
OF_MLP = ("width", "depth", "features", "dropout")


class NetSettings(Settings):
    """A time-conditional residual network over the flat latent."""

    network: str = "mlp"
    """mlp: the residual network that the other options describe; else the import string `module:Class` of a
    `priorkit.energies.scale_network.ScaleNetwork` in a module that declares a plugin, such as
    priorkit_diffusers:UNet2D or priorkit_diffusers:DiT (extra `diffusers`)."""
    options: dict[str, Any] = Field(default_factory=dict, validate_default=True)
    """Options of a network given by its import string."""
    width: int = Field(default=128, ge=1)
    """Hidden width."""
    depth: int = Field(default=2, ge=1)
    """Number of residual blocks."""
    features: Literal["auto", "plain", "fourier"] = "auto"
    """Input features of the latent. plain: the latent itself; fourier: random Fourier features; auto:
    fourier for at most 3 coordinates, where densities may have edges, else plain."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout in each block in training."""

    @field_validator("options")
    @classmethod
    def _complete(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """Fill in the default of every option of the network."""
        name = info.data.get("network", "mlp")
        if name == "mlp":
            if value:
                raise ValueError("the mlp does not use `options`; set `network` to an import string, or remove `options`")
            return value
        return network_options(name, value)


class VdrmeSettings(TopLayersSettings):
    """The VDRME prior."""

    scales: int = Field(default=4, ge=1)
    """K, the number of conditional energies and of generator calls per sample (4, 6 or 8 in the paper)."""
    spacing: Literal["uniform", "quadratic"] = "uniform"
    """Spacing of the K + 1 levels on the grid of 1,000 diffusion times, from 0 to 999. uniform: even; quadratic: as the
    squares of 0 ... K, with finer steps near the data."""
    pairs: Literal["markov", "shared_noise"] = "markov"
    """How pairs of real points are drawn. markov: x_{i+1} is x_i diffused further, as the recovery term assumes;
    shared_noise: both
    come from the same x_0 and the same noise (the paper)."""
    predicts: Literal["velocity", "noise"] = "velocity"
    """Output of the generator's network. noise: the noise e (the paper); velocity: v with e = S x + A v, the same
    generator in coordinates that are well conditioned at the top scale."""
    start: Literal["gaussian", "silent"] = "gaussian"
    """Initial generators. gaussian: the exact conditionals of N(0, I), a x_{i+1} + b z, so that training starts at the
    Gaussian prior; silent: generators that ignore the injected noise (the paper)."""
    entropy: Literal["auto", "nearest", "jsd"] = "nearest"
    """Estimator of the generator's entropy. nearest: distance to the nearest of `draws` samples; jsd: Jensen-Shannon
    mutual information with the injected noise (a third network); auto: nearest for at most 64 coordinates, else jsd
    (the paper: nearest in the plane, jsd for images). jsd is bounded and did not keep the generators of 128 latents from
    contracting (docs/methods/vdrme.md)."""
    draws: int = Field(default=2, ge=2)
    """Number of samples per condition in the nearest-neighbour entropy (2 in the paper); more give a better estimate."""
    entropy_weight: float = Field(default=1.0, ge=0)
    """lambda_e, the weight of the generator's entropy."""
    energy_weight: float = Field(default=1.0, ge=0)
    """w_e, the weight of the energy in the generator's loss."""
    recovery_weight: float = Field(default=1.0, ge=0)
    """w_r, the weight of the recovery quadratic in the generator's loss."""
    gradient_penalty: float = Field(default=0.1, ge=0)
    """Weight of the squared gradient norm of the energies' network at real points (0.01 in the paper)."""
    bound: float | None = Field(default=4.0, gt=0)
    """b in f = b tanh(f / b), which bounds the log ratio of each scale to (-b, b) and limits its slope; none: no bound,
    as in the paper."""
    refine: int = Field(default=0, ge=0)
    """Number of Markov chain steps on the conditional energy that refine a generator's output, in sampling and in the
    fake samples for training the energies; 0: no refinement (the paper: one generator call per scale)."""
    refine_draws: int | None = Field(default=None, ge=0)
    """The same in sampling only; none: as `refine`."""
    classes: int = Field(default=0, ge=0)
    """Number of classes for conditional sampling; 0: unconditional. It needs data with labels."""
    classes_weight: float = Field(default=1.0, ge=0)
    """Weight of the classifier's cross-entropy in the energy's objective."""
    energy: NetSettings = NetSettings(dropout=0.1)
    """The network of the energies; the classifier and the entropy network have the same size."""
    generator: NetSettings = NetSettings()
    """The network of the generators."""
    energy_optimiser: OptimiserSettings = OptimiserSettings(
        lr=1e-3, betas=(0.0, 0.999), eps=1e-12, schedule="cosine", lr_min=1e-6, clip=10.0
    )
    """Optimiser of the energies."""
    generator_optimiser: OptimiserSettings = OptimiserSettings(
        lr=1e-3, betas=(0.3, 0.999), eps=1e-12, schedule="cosine", lr_min=1e-6, clip=10.0
    )
    """Optimiser of the generators."""
    entropy_optimiser: OptimiserSettings = OptimiserSettings(
        lr=1e-3, betas=(0.3, 0.999), eps=1e-12, schedule="cosine", lr_min=1e-6, clip=10.0
    )
    """Optimiser of the entropy network."""

    def uses_distances(self, dim: int) -> bool:
        """Return whether the entropy in `dim` coordinates is estimated by `nearest`."""
        return self.entropy == "nearest" or (self.entropy == "auto" and dim <= FEW)

    @field_validator("energy", "generator")
    @classmethod
    def _used_options(cls, value: NetSettings, info: ValidationInfo) -> NetSettings:
        """Reject options of the mlp that another network would ignore; a resolved file contains their defaults."""
        defaults = (cls.model_fields[str(info.field_name)].default, NetSettings())
        changed = [name for name in OF_MLP if getattr(value, name) not in [getattr(known, name) for known in defaults]]
        unused = [name for name in changed if name in value.model_fields_set]
        if value.network != "mlp" and unused:
            raise ValueError(
                f"{', '.join(unused)}: options of the mlp, not of {value.network}; set its own options under `options`"
            )
        return value
