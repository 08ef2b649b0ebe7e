"""The options of the two-layer backbone.

These values give the models of the papers:

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
    """Number of hidden layers of each conditional prior and of the dense encoder and decoder."""
    decoder: Literal["auto", "dense", "dcgan", "dcgan8"] = "auto"
    """Decoder architecture. dense: a multilayer perceptron. dcgan: transposed convolutions from a 4x4 map. dcgan8: from
    an 8x8 map, with a 3x3
    convolution at the end (JointEBM). auto: dense below 28 pixels and for points, else dcgan."""
    width: PositiveInt = 64
    """Base number of channels of the convolutional encoder and decoder; their widths are multiples of it."""
    likelihood: Literal["fixed-normal", "logistic-mixture", "bernoulli"] = "fixed-normal"
    """p(x | z): Gaussian pixels with one fixed sigma (the papers), discretised logistics for grey levels, or binary pixels.
    Only the last two give bits/dim. On digits, logistic-mixture leaves a smaller gap between posterior and prior (AUC
    of a classifier 0.64, and 0.80 with fixed-normal, at the defaults; one seed). Points (not images) need fixed-normal."""
    sigma: PositiveFloat = 0.07
    """Sigma of fixed-normal, for images in [-1, 1] and for points in their own units. The papers' 0.3 blurs digits."""
    components: PositiveInt = 3
    """Number of components of logistic-mixture."""
    mixture_edges: MixtureEdges = "half-bin"
    """Upper edge of the bin of level 254 of 8-bit colour. half-bin: half way to 255, as for other levels, so that the
    probabilities sum to 1; nvae: none, so that level 254 gets the probability of 254 and 255 together (the published
    code and its checkpoints)."""
    inference: Literal["top-down", "bottom-up", "none"] = "top-down"
    """Inference network. top-down: q(z_i | z_{i-1}, x), with an analytic KL in every layer. bottom-up: q(z_bottom | x),
    then each layer given the layer below (the papers); only the top layer's KL is analytic, the others are one-sample
    estimates and may be negative. none: no network; the joint trainer samples the posterior with a Markov chain."""
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Fraction of the phase in which the weight of the KL rises linearly to 1."""
    free_bits: NonNegativeFloat = 0.0
    """Free bits: KL per layer, in nats (mean over the batch), below which the loss does not reduce it."""
    optimiser: OptimiserSettings = OptimiserSettings(lr=1e-3, schedule="cosine")
    """Optimiser of all networks."""
