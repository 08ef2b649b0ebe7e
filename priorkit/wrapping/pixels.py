"""Maps a decoder's output to p(x | z)."""

import torch
from torch import Tensor

from priorkit.core import Likelihood
from priorkit.likelihoods import Bernoulli, FixedNormal, WithoutDensity
from priorkit.wrapping.settings import WrappedSettings

__all__ = ["MeanOnly", "likelihood"]

SMALLEST = 1e-6
"""Distance from 0 and 1 that a probability is kept at: its logit is finite."""


class MeanOnly(WithoutDensity):
    """The decoder's mean."""

    protocol = "no density: a decoder whose likelihood is not known"
    reason = (
        'log p(x | z) is not defined for a VAE wrapped with likelihood="none". Name its likelihood: '
        'priorkit.wrap(..., likelihood="bernoulli"), or "gaussian" with sigma.'
    )


def likelihood(settings: WrappedSettings, raw: Tensor) -> Likelihood:
    """Return p(x | z) for a decoder's output raw (B, *data shape)."""
    logits, image = settings.output == "logits", len(settings.shape) == 3
    if settings.likelihood == "bernoulli":
        return Bernoulli(raw if logits else torch.logit(_unit(settings, raw), eps=SMALLEST))
    mean = raw.sigmoid() if logits else _unit(settings, raw)
    if settings.likelihood == "none":
        return MeanOnly(mean.clamp(0, 1) if image else mean)
    if image:
        return FixedNormal(2 * mean - 1, settings.sigma)
    return FixedNormal(mean, settings.sigma, units="data")


def _unit(settings: WrappedSettings, values: Tensor) -> Tensor:
    """Return values of the VAE's interval in priorkit's units, images in [0, 1]."""
    low, high = settings.interval
    return (values - low) / (high - low)
