"""Options of the flow-matching prior."""

from typing import Literal

from pydantic import Field, PositiveInt

from priorkit.core import Layout, OptimiserSettings, Settings, TopLayersSettings
from priorkit.energies import LabelSettings

__all__ = ["LOW_DIMENSION", "FlowMatchingSettings", "VelocitySettings"]

LOW_DIMENSION = 3
"""Latents of a layer up to which the network reads random Fourier features and `path=auto` is logarithmic."""


class VelocitySettings(Settings):
    """The architecture of the velocity networks."""

    width: PositiveInt = 256
    """Hidden width of the perceptrons, which read vectors and maps of a side below 4."""
    channels: PositiveInt = 64
    """Channels of the convolutional networks, which read larger maps."""
    depth: PositiveInt = 3
    """Number of residual blocks."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout in each block in training."""


class FlowMatchingSettings(TopLayersSettings):
    """A velocity field from N(0, I) to the aggregated posterior, one per layer given the layers above."""

    loss: Literal["velocity", "score"] = "velocity"
    """What the network predicts. velocity: the path's velocity (flow matching); score: the noise, as the prediction for
    N(0, I) plus the network's output (the mixed score parameterisation of LSGM). Both give an ODE and a density."""
    path: Literal["auto", "trigonometric", "vp", "logarithmic"] = "auto"
    """Distribution of the noise levels in training. All variance-preserving paths pass through the same levels.
    trigonometric: the angle of cos(angle) noise + sin(angle) u is uniform; vp: uniform time of the variance-preserving
    diffusion with beta from 0.1 to 20 (LSGM); logarithmic: the log of the noise, cos(angle), is uniform from 1 to 0.005;
    auto: vp for `loss=score`, logarithmic for `loss=velocity` if no layer has more than 3 latents, where edges can be
    learned, else trigonometric."""
    weighting: Literal["path", "likelihood"] = "path"
    """Weight of the noise levels in the loss. path: equal weights on the distribution of `path`; likelihood: the weights
    of the bound on the log likelihood, by sampling the log signal-to-noise ratio uniformly; `path` then has no effect."""
    steps: PositiveInt = 20
    """Heun steps of a draw; each evaluates the network twice."""
    density_steps: PositiveInt = 40
    """Heun steps of the log density."""
    divergence: Literal["auto", "exact", "hutchinson"] = "auto"
    """Divergence of the field in the log density. exact: one derivative per latent of the layer; hutchinson: an unbiased
    estimate from `probes` fixed random directions; auto: exact for layers of up to 64 latents, else hutchinson."""
    probes: PositiveInt = 16
    """Number of directions of Hutchinson's estimate; its standard error falls with their square root."""
    context: Literal["auto", "none", "upper", "decoder", "both"] = "auto"
    """What the network of a layer knows of the layers above. upper: their noise, flattened; decoder: the generator's
    features before the layer; both: the two together; none: nothing, which makes the layers independent; auto: both
    with more than 256 latents if the backbone offers features, else upper."""
    net: VelocitySettings = VelocitySettings()
    """The network of each layer."""
    labels: tuple[LabelSettings, ...] = ()
    """Attributes for conditional sampling."""
    proposals: PositiveInt = 32
    """Draws per layer and sample, of which one is chosen in proportion to the probability of the requested labels; has
    no effect without labels."""
    optimiser: OptimiserSettings = OptimiserSettings(lr=1e-3, schedule="cosine", lr_min=1e-5, clip=1.0)
    """Optimiser of all networks."""

    def path_in(self, layout: Layout) -> Literal["trigonometric", "vp", "logarithmic"]:
        """Return the path that is set, or the one that `auto` stands for in this space."""
        if self.path != "auto":
            return self.path
        if self.loss == "score":
            return "vp"
        return "logarithmic" if max(layout.sizes) <= LOW_DIMENSION else "trigonometric"
