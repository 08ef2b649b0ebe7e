"""Pixel likelihoods p(x | z) shared by the backbones.  Images are in [0, 1]."""

from priorkit.likelihoods.bernoulli import Bernoulli
from priorkit.likelihoods.decoder_output import full_precision, widened
from priorkit.likelihoods.gaussian import normal_kl, normal_log_prob
from priorkit.likelihoods.logistic_mixture import LogisticMixture, MixtureEdges, mixture_channels
from priorkit.likelihoods.normal import FixedNormal, Normal, soft_clamp
from priorkit.likelihoods.without_density import WithoutDensity

__all__ = [
    "Bernoulli",
    "FixedNormal",
    "LogisticMixture",
    "MixtureEdges",
    "Normal",
    "WithoutDensity",
    "full_precision",
    "mixture_channels",
    "normal_kl",
    "normal_log_prob",
    "soft_clamp",
    "widened",
]
