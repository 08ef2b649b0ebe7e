"""Energy networks shared by the priors: functions of the flat latent with one logit, or one a layer."""

from priorkit.energies.build import build_energy
from priorkit.energies.coupled import CoupledEnergy
from priorkit.energies.labelled import LabelledPrior
from priorkit.energies.labels import LabelHeads, LabelSettings
from priorkit.energies.separable import SeparableEnergy
from priorkit.energies.settings import EnergySettings

__all__ = [
    "CoupledEnergy",
    "EnergySettings",
    "LabelHeads",
    "LabelSettings",
    "LabelledPrior",
    "SeparableEnergy",
    "build_energy",
]
