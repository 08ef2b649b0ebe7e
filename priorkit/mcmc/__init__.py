"""Densities on u-space and the Markov kernels that move on them."""

from priorkit.mcmc.chain import Chain
from priorkit.mcmc.chain_recorder import ChainRecorder, per_coordinate
from priorkit.mcmc.density import LogProb
from priorkit.mcmc.gradient import ratio_and_gradient, value_and_gradient
from priorkit.mcmc.hamiltonian import drift, integrate, rotation
from priorkit.mcmc.importance_resampling import Resampled, proposals_for, resample
from priorkit.mcmc.langevin import adjusted_langevin_chain, adjusted_langevin_step, langevin_chain, langevin_move
from priorkit.mcmc.log_normal import log_normal
from priorkit.mcmc.metropolis import State, accept, metropolis_chain, state_at
from priorkit.mcmc.step_size import by_acceptance, by_displacement
from priorkit.mcmc.tilted_normal import BaseDensity, TiltedNormal

__all__ = [
    "BaseDensity",
    "Chain",
    "ChainRecorder",
    "LogProb",
    "Resampled",
    "State",
    "TiltedNormal",
    "accept",
    "adjusted_langevin_chain",
    "adjusted_langevin_step",
    "by_acceptance",
    "by_displacement",
    "drift",
    "integrate",
    "langevin_chain",
    "langevin_move",
    "log_normal",
    "metropolis_chain",
    "per_coordinate",
    "proposals_for",
    "ratio_and_gradient",
    "resample",
    "rotation",
    "state_at",
    "value_and_gradient",
]
