"""Log-densities and divergences of one-dimensional Gaussians, entry by entry, of pixels and latents alike."""

from torch import Tensor

__all__ = ["HALF_LOG_TAU", "normal_kl", "normal_log_prob"]

HALF_LOG_TAU = 0.9189385332046727
"""log sqrt(2 pi)."""


def normal_log_prob(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """log N(x; mean, scale^2) of each entry, in nats."""
    return -0.5 * ((x - mean) / scale).square() - scale.log() - HALF_LOG_TAU


def normal_kl(mean: Tensor, scale: Tensor, other_mean: Tensor | float = 0.0, other_scale: Tensor | float = 1.0) -> Tensor:
    """KL(N(mean, scale^2) || N(other_mean, other_scale^2)) of each entry, in nats."""
    ratio, distance = scale / other_scale, (mean - other_mean) / other_scale
    return 0.5 * (distance.square() + ratio.square()) - 0.5 - ratio.log()
