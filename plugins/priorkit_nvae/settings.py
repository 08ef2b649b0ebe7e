"""The options of an NVAE: architecture, decoder and training.

Names are those of the arguments of the published training script, where it has them.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from priorkit.core import DataSpec, Settings
from priorkit.errors import UsageError
from priorkit.likelihoods import MixtureEdges
from priorkit_nvae.presets import AUTO, PRESETS, preset_for

__all__ = ["NvaeSettings"]


class NvaeSettings(Settings):
    """Options of an NVAE; the preset sets every option that is not given."""

    earlier: ClassVar[Mapping[str, Any]] = {"mixture_edges": "nvae"}
    preset: str = AUTO
    """A named configuration: auto, digits, small, small-64, or a published one (mnist, cifar10, celeba-64, ...). auto: by
    the images' side: digits up to 16 pixels, small up to 48, small-64 up to 64, celeba-hq-256 from 256 (which needs a
    GPU). With auto, kl_final is 1 unless it is given or the data are priorkit's digits."""
    arch_instance: str = "res_mbconv"
    """Cell architecture: the residual operations of encoder and decoder."""
    num_latent_scales: int = Field(default=1, ge=1)
    """Number of latent resolutions (scales), each half of the one below."""
    num_groups_per_scale: int = Field(default=10, ge=1)
    """Number of groups (latent layers) at the highest resolution."""
    num_latent_per_group: int = Field(default=20, ge=1)
    """Latent channels per group."""
    ada_groups: bool = False
    """Halve the number of groups from each scale to the next lower resolution."""
    min_groups_per_scale: int = Field(default=1, ge=1)
    """Smallest number of groups per scale with `ada_groups`."""
    num_channels_enc: int = Field(default=32, ge=1)
    """Encoder channels at the resolution of the image; doubled whenever the resolution is halved."""
    num_channels_dec: int = Field(default=32, ge=1)
    """Decoder channels at the resolution of the image."""
    num_preprocess_blocks: int = Field(default=2, ge=0)
    """Number of blocks before the first latent scale, each of which halves the resolution."""
    num_preprocess_cells: int = Field(default=3, ge=1)
    """Number of cells per such block."""
    num_postprocess_blocks: int = Field(default=2, ge=0)
    """Number of blocks after the last group, each of which doubles the resolution; equal to `num_preprocess_blocks`."""
    num_postprocess_cells: int = Field(default=3, ge=1)
    """Number of cells per such block."""
    num_cell_per_cond_enc: int = Field(default=1, ge=1)
    """Number of encoder cells per group."""
    num_cell_per_cond_dec: int = Field(default=1, ge=0)
    """Number of decoder cells per group, except the first group."""
    num_nf: int = Field(default=0, ge=0)
    """Number of pairs of volume-preserving autoregressive flow cells on the posterior sample of each group."""
    use_se: bool = True
    """Squeeze-and-excitation in every cell."""
    recompute_cells: bool = False
    """Activation checkpointing: store only the input of every cell and recompute the rest in the backward pass, which
    saves memory and costs one more forward pass."""
    res_dist: bool = True
    """Parameterise the posterior by offsets from the prior's parameters."""
    decoder: Literal["bernoulli", "normal", "logistic"] = "logistic"
    """Pixel likelihood: binary, Gaussian density, or discretised mixture of logistics."""
    num_mixture_dec: int = Field(default=10, ge=1)
    """Number of components of the logistic mixture."""
    mixture_edges: MixtureEdges = "half-bin"
    """Upper edge of the bin of level 254 of 8-bit colour. half-bin: half way to 255, as for other levels, so that the
    probabilities sum to 1; nvae: none, so that level 254 gets the probability of 254 and 255 together (the published
    code and its checkpoints)."""
    num_x_bits: int = Field(default=8, ge=1, le=8)
    """Bits per pixel and channel: below 8, images of 256 levels are reduced to fewer levels; 8 keeps the data's levels."""
    learning_rate: float = Field(default=1e-2, gt=0)
    """Peak learning rate of Adamax."""
    learning_rate_min: float = Field(default=1e-4, ge=0)
    """Final learning rate of the cosine schedule."""
    warmup: float = Field(default=0.0125, ge=0, le=1)
    """Fraction of the phase in which the learning rate rises linearly from 0."""
    weight_decay: float = Field(default=3e-4, ge=0)
    """L2 penalty in Adamax."""
    weight_decay_norm: float = Field(default=0.0, ge=0)
    """Weight of the spectral and batch-norm regularisers; 0: none."""
    weight_decay_norm_init: float = Field(default=10.0, gt=0)
    """Initial value of `weight_decay_norm` when it is annealed."""
    weight_decay_norm_anneal: bool = False
    """Anneal `weight_decay_norm` geometrically from its initial to its final value while the KL warms up."""
    kl_anneal_portion: float = Field(default=0.3, ge=0, le=1)
    """Fraction of the phase in which the weight of the KL rises to `kl_final`."""
    kl_const_portion: float = Field(default=1e-4, ge=0, le=1)
    """Fraction of the phase before the weight of the KL starts to rise."""
    kl_const_coeff: float = Field(default=1e-4, ge=0, le=1)
    """Smallest weight of the KL."""
    kl_final: float = Field(default=1.0, gt=0, le=1)
    """Weight of the KL after the warm-up. 1 is the evidence lower bound, as in NVAE; below 1 the latents carry more
    information about the image, as with a decoder of less noise."""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        name = given.get("preset", AUTO)
        if name == AUTO:
            return given
        if not isinstance(name, str) or name not in PRESETS:
            near = get_close_matches(str(name), PRESETS, n=1, cutoff=0.0)[0]
            raise UsageError(
                f"nvae: no preset {name!r}; did you mean --set backbone.preset={near}? Presets: {', '.join(PRESETS)}."
            )
        return {**PRESETS[name], **given}

    @model_serializer(mode="wrap")
    def _given(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """With `auto` only what was given: the rest is not decided yet."""
        fields: dict[str, Any] = write(self)
        given = self.model_fields_set | {"preset"} if self.preset == AUTO else fields.keys()
        return {name: value for name, value in fields.items() if name in given}

    def for_data(self, spec: DataSpec) -> "NvaeSettings":
        """Return the options of the preset that fits the data, with those that were given.

        Raises UsageError for images of a size that has no preset.
        """
        if self.preset != AUTO:
            return self
        given = {name: getattr(self, name) for name in self.model_fields_set if name != "preset"}
        # A smaller weight makes better pictures and a worse bound: nobody who brings data has asked for that.
        weight = {} if spec.name == "digits" else {"kl_final": 1.0}
        return NvaeSettings(**{**weight, **given, "preset": preset_for(spec)})
