"""Options of the flow prior."""

from typing import Literal

from pydantic import Field, PositiveInt

from priorkit.core import OptimiserSettings, Settings
from priorkit.energies import LabelSettings

__all__ = ["FlowSettings"]

MAX_SPLINE = 512
"""Latents of a layer up to which `transform=auto` is spline."""
MAX_AUTOREGRESSIVE = 32
"""Latents of a layer up to which `structure=auto` is autoregressive."""


class FlowSettings(Settings):
    """A normalising flow per layer, given the layers above (library zuko)."""

    transform: Literal["auto", "spline", "affine"] = "auto"
    """Monotonic function of each latent. spline: rational-quadratic on [-5, 5], the identity beyond (neural spline flows);
    affine: a shift and a positive factor (masked autoregressive flows); auto: spline up to 512 latents per layer, else
    affine."""
    structure: Literal["auto", "autoregressive", "coupling"] = "auto"
    """Latents that the function of a latent depends on. autoregressive: all before it, so that a sample takes one evaluation
    per latent; coupling: one half of the layer, so that a sample takes two; auto: autoregressive up to 32 latents per layer,
    else coupling."""
    transforms: int = Field(default=4, ge=2)
    """Transforms of a layer, one after the other, each with another order of the latents."""
    bins: PositiveInt = 8
    """Bins of a spline."""
    width: PositiveInt = 128
    """Hidden width of each transform's network."""
    depth: PositiveInt = 2
    """Hidden layers of each transform's network."""
    layers: str | int = "auto"
    """Layers with a flow: all, top:k, bottom:k or numbers from 0 (top); the others keep N(0, I). auto: the layers with fewer
    than 512 latents if there are any, else all."""
    context: Literal["auto", "none", "upper", "decoder", "both"] = "auto"
    """What the flow of a layer knows of the layers above. upper: their noise, flattened; decoder: the generator's features
    before the layer; both: the two together; none: nothing, which makes the layers independent; auto: both with more than
    256 latents if the backbone offers features, else upper."""
    labels: tuple[LabelSettings, ...] = ()
    """Attributes for conditional sampling."""
    proposals: PositiveInt = 32
    """Samples per layer, of which one is chosen in proportion to the probability of the requested labels; has no effect
    without labels."""
    optimiser: OptimiserSettings = OptimiserSettings(lr=1e-3, schedule="cosine", lr_min=1e-5, clip=10.0)
    """Optimiser of all flows."""

    def splines(self, size: int) -> bool:
        """Return whether the latents of a layer of `size` are transformed by splines."""
        return size <= MAX_SPLINE if self.transform == "auto" else self.transform == "spline"

    def autoregressive(self, size: int) -> bool:
        """Return whether each latent of a layer of `size` depends on all before it."""
        return size <= MAX_AUTOREGRESSIVE if self.structure == "auto" else self.structure == "autoregressive"
