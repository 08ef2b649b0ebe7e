"""Energy networks shared by the priors: functions of the flat latent with one logit, or one per layer."""

from priorkit.energies.base_settings import RatioSettings
from priorkit.energies.build import build_energy
from priorkit.energies.conditional import ConditionalEnergy, LayerLogits
from priorkit.energies.conditional_base import BaseSettings, ConditionalBase, layers_for_ratios
from priorkit.energies.conditional_prior import ConditionalPrior
from priorkit.energies.coupled import CoupledEnergy
from priorkit.energies.descent import ContextKind, Descent
from priorkit.energies.labelled import LabelledPrior
from priorkit.energies.labels import LabelHeads, LabelSettings
from priorkit.energies.layer_gaussian import LayerGaussian
from priorkit.energies.mapped_prior import MappedPrior, chosen_context
from priorkit.energies.precision import bounded, precise
from priorkit.energies.prefix_labels import PrefixHeads
from priorkit.energies.ratio_prior import RatioPrior
from priorkit.energies.separable import SeparableEnergy
from priorkit.energies.settings import EnergySettings

__all__ = [
    "BaseSettings",
    "ConditionalBase",
    "ConditionalEnergy",
    "ConditionalPrior",
    "ContextKind",
    "CoupledEnergy",
    "Descent",
    "EnergySettings",
    "LabelHeads",
    "LabelSettings",
    "LabelledPrior",
    "LayerGaussian",
    "LayerLogits",
    "MappedPrior",
    "PrefixHeads",
    "RatioPrior",
    "RatioSettings",
    "SeparableEnergy",
    "bounded",
    "build_energy",
    "chosen_context",
    "layers_for_ratios",
    "precise",
]
