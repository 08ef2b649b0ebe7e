"""Pixel likelihoods p(x | z) shared by the backbones.  Images are in [0, 1]."""

from priorkit.likelihoods.bernoulli import Bernoulli
from priorkit.likelihoods.logistic_mixture import LogisticMixture, mixture_channels
from priorkit.likelihoods.normal import FixedNormal, Normal, soft_clamp

__all__ = ["Bernoulli", "FixedNormal", "LogisticMixture", "Normal", "mixture_channels", "soft_clamp"]
