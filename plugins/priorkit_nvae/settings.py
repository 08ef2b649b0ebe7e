"""The options of an NVAE: the network's shape, the decoder, and how it is trained.

Names are those of the published training script's arguments where it has them.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from priorkit.core import Settings
from priorkit.errors import UsageError
from priorkit.likelihoods import MixtureEdges
from priorkit_nvae.presets import PRESETS

__all__ = ["NvaeSettings"]


class NvaeSettings(Settings):
    """A preset fills every field that is not given."""

    earlier: ClassVar[Mapping[str, Any]] = {"mixture_edges": "nvae"}
    preset: str = "digits"
    """A named configuration: digits, small, or a published one (mnist, cifar10, celeba-64, ...)."""
    arch_instance: str = "res_mbconv"
    """The cell table: which residual operations the towers are made of."""
    num_latent_scales: int = Field(default=1, ge=1)
    """Latent resolutions, each half of the one below it."""
    num_groups_per_scale: int = Field(default=10, ge=1)
    """Groups (latent layers) at the highest resolution."""
    num_latent_per_group: int = Field(default=20, ge=1)
    """Latent channels of each group."""
    ada_groups: bool = False
    """Halve the number of groups from each scale to the next lower resolution."""
    min_groups_per_scale: int = Field(default=1, ge=1)
    """Where the halving stops."""
    num_channels_enc: int = Field(default=32, ge=1)
    """Encoder channels at the image's resolution; doubled at each halving of it."""
    num_channels_dec: int = Field(default=32, ge=1)
    """Decoder channels at the image's resolution."""
    num_preprocess_blocks: int = Field(default=2, ge=0)
    """Halvings of the resolution before the first latent scale."""
    num_preprocess_cells: int = Field(default=3, ge=1)
    """Cells of each of these blocks."""
    num_postprocess_blocks: int = Field(default=2, ge=0)
    """Doublings of the resolution after the last group; equal to `num_preprocess_blocks`."""
    num_postprocess_cells: int = Field(default=3, ge=1)
    """Cells of each of these blocks."""
    num_cell_per_cond_enc: int = Field(default=1, ge=1)
    """Encoder cells of each group."""
    num_cell_per_cond_dec: int = Field(default=1, ge=0)
    """Decoder cells of each group but the first."""
    num_nf: int = Field(default=0, ge=0)
    """Pairs of volume-preserving autoregressive flow cells on each group's posterior sample."""
    use_se: bool = True
    """Squeeze-and-excitation in every cell."""
    recompute_cells: bool = False
    """Keep the input of every cell only, and compute the rest again on the way back: less memory, and one more forward."""
    res_dist: bool = True
    """The posterior's parameters are offsets from the prior's."""
    decoder: Literal["bernoulli", "normal", "logistic"] = "logistic"
    """Pixel likelihood: binary, Gaussian density, or discretised mixture of logistics."""
    num_mixture_dec: int = Field(default=10, ge=1)
    """Components of the logistic mixture."""
    mixture_edges: MixtureEdges = "half-bin"
    """Where level 254 of 8-bit colour ends. half-bin: half way to 255, as elsewhere, so that probabilities add up to 1;
    nvae: nowhere, so that it has the probability of 254 and 255 together (the published code, and its checkpoints)."""
    num_x_bits: int = Field(default=8, ge=1, le=8)
    """Bits of an image entry; below 8, images of 256 levels are reduced.  8 keeps the data's own levels."""
    learning_rate: float = Field(default=1e-2, gt=0)
    """Peak rate of Adamax."""
    learning_rate_min: float = Field(default=1e-4, ge=0)
    """Where the cosine schedule ends."""
    warmup: float = Field(default=0.0125, ge=0, le=1)
    """Share of the phase over which the learning rate rises."""
    weight_decay: float = Field(default=3e-4, ge=0)
    """L2 penalty in Adamax."""
    weight_decay_norm: float = Field(default=0.0, ge=0)
    """Weight of the spectral and batch-norm regularisers; 0 leaves them out."""
    weight_decay_norm_init: float = Field(default=10.0, gt=0)
    """Where that weight starts when it is annealed."""
    weight_decay_norm_anneal: bool = False
    """Move the weight geometrically from its start to its final value while the KL warms up."""
    kl_anneal_portion: float = Field(default=0.3, ge=0, le=1)
    """Share of the phase over which the KL's weight rises to 1."""
    kl_const_portion: float = Field(default=1e-4, ge=0, le=1)
    """Share of the phase before it starts to rise."""
    kl_const_coeff: float = Field(default=1e-4, ge=0, le=1)
    """The KL's smallest weight."""
    kl_final: float = Field(default=1.0, gt=0, le=1)
    """Weight of the KL once it is warmed up.  1 is the bound itself, and NVAE; below 1 the latents carry more of the image
    than the bound asks for, as a decoder with less noise would have them."""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        name = given.get("preset", "digits")
        if not isinstance(name, str) or name not in PRESETS:
            near = get_close_matches(str(name), PRESETS, n=1, cutoff=0.0)[0]
            raise UsageError(f"nvae: there is no preset {name!r}; did you mean {near!r}?  Presets: {', '.join(PRESETS)}.")
        return {**PRESETS[name], **given}
