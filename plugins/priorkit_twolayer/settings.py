"""The options of the two-layer backbone.

The papers' models are reached by these values:

- JointEBM on CIFAR-10 (Cui et al., joint training): latents [100, 128], hidden 200, depth 4, decoder dcgan8, width 128,
  likelihood fixed-normal, sigma 0.3, inference none;
- the multi-stage paper's joint model: latents [100, 100], hidden 256, depth 4, decoder dcgan, width 64,
  likelihood fixed-normal, sigma 0.3, inference none;
- LEBM's generator (one layer): latents [100], decoder dcgan, width 64, likelihood fixed-normal, sigma 0.3, inference none.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from priorkit.core import OptimiserSettings, Settings
from priorkit.likelihoods import MixtureEdges

__all__ = ["TwoLayerSettings"]


class TwoLayerSettings(Settings):
    """A VAE with a chain of Gaussian vector latents; the defaults suit 8x8 digits."""

    earlier: ClassVar[Mapping[str, Any]] = {"mixture_edges": "nvae"}
    latents: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (8, 16)
    """Size of each latent layer, top first; any number of layers from 1."""
    hidden: PositiveInt = 256
    """Width of the multilayer perceptrons."""
    depth: PositiveInt = 2
    """Hidden layers of each conditional prior and of the dense encoder and decoder."""
    decoder: Literal["auto", "dense", "dcgan", "dcgan8"] = "auto"
    """dense: a perceptron. dcgan: transposed convolutions from a 4x4 map. dcgan8: from an 8x8 map, with a 3x3
    convolution at the end (JointEBM). auto: dense below 28 pixels and for points, else dcgan."""
    width: PositiveInt = 64
    """Channels of the convolutional encoder and decoder, in units of which their widths are multiples."""
    likelihood: Literal["fixed-normal", "logistic-mixture", "bernoulli"] = "fixed-normal"
    """p(x | z): Gaussian pixels of one fixed sigma (the papers'), discretised logistics for grey levels, or binary pixels.
    Only the last two give bits/dim; on digits logistic-mixture leaves a smaller gap between posterior and prior (a
    classifier's AUC 0.64 against 0.80 with fixed-normal at the defaults; one seed).
    Points (not images) take fixed-normal."""
    sigma: PositiveFloat = 0.07
    """Sigma of fixed-normal: of images in [-1, 1], of points in their own units. The papers' 0.3 blurs digits."""
    components: PositiveInt = 3
    """Components of logistic-mixture."""
    mixture_edges: MixtureEdges = "half-bin"
    """Where level 254 of 8-bit colour ends. half-bin: half way to 255, as elsewhere, so that probabilities add up to 1;
    nvae: nowhere, so that it has the probability of 254 and 255 together (the published code, and its checkpoints)."""
    inference: Literal["top-down", "bottom-up", "none"] = "top-down"
    """top-down: q(z_i | z_{i-1}, x), with an analytic KL in every layer. bottom-up: q(z_bottom | x),
    then each layer from the one below it (the papers'); only the top layer's KL is analytic, the others are values of
    the sample and may be negative. none: no network; the joint trainer samples the posterior by a chain."""
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of the phase over which the KL's weight rises linearly to 1."""
    free_bits: NonNegativeFloat = 0.0
    """Nats of KL of each layer (mean over the batch) below which the loss does not push it."""
    optimiser: OptimiserSettings = OptimiserSettings(lr=1e-3, schedule="cosine")
    """Optimiser of all networks."""
