"""Samplers on the flat latent: Langevin (ULA), Metropolis-adjusted Langevin, Hamiltonian Monte Carlo,
sampling-importance-resampling."""

from priorkit_mcmc.hmc import Hmc, HmcSettings
from priorkit_mcmc.langevin import Langevin, LangevinSettings
from priorkit_mcmc.mala import Mala, MalaSettings
from priorkit_mcmc.sir import Sir, SirSettings

__all__ = ["Hmc", "HmcSettings", "Langevin", "LangevinSettings", "Mala", "MalaSettings", "Sir", "SirSettings"]
