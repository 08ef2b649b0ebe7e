"""The contracts: Layout, Backbone, Prior, Sampler, Trainer, and the small types that pass between them."""

from priorkit.core.backbone import Backbone, Context, Elbo, Generation, LatentSpace, Posterior, TopDown
from priorkit.core.condition import Condition, for_rows, resampled_start, run_conditioned
from priorkit.core.data_spec import DataSpec
from priorkit.core.freezing import frozen, set_learning
from priorkit.core.keep import Keep, KeepRows, Progress, Rows, Spread, alone, keep_nothing, rows_in_memory, silent
from priorkit.core.latents import Latents
from priorkit.core.layout import Layout
from priorkit.core.likelihood import Likelihood
from priorkit.core.log_normal import log_normal
from priorkit.core.metropolis import (
    State,
    accept,
    adjusted_langevin,
    langevin_move,
    ratio_and_gradient,
    state_at,
    value_and_gradient,
)
from priorkit.core.objective import Loss, Objective, OptimiserSettings, Step
from priorkit.core.posterior_chain import PosteriorChain, PosteriorChainSettings, density_of_z, invert
from priorkit.core.prior import Draw, Prior, StageContext
from priorkit.core.sampler import Chain, LogProb, PerLayerSampler, Sampler
from priorkit.core.settings import Settings
from priorkit.core.streams import Streams
from priorkit.core.tilted_normal import TiltedNormal
from priorkit.core.trainer import Examples, Phase, Selection, Trainer, Workbench

__all__ = [
    "Backbone",
    "Chain",
    "Condition",
    "Context",
    "DataSpec",
    "Draw",
    "Elbo",
    "Examples",
    "Generation",
    "Keep",
    "KeepRows",
    "LatentSpace",
    "Latents",
    "Layout",
    "Likelihood",
    "LogProb",
    "Loss",
    "Objective",
    "OptimiserSettings",
    "PerLayerSampler",
    "Phase",
    "Posterior",
    "PosteriorChain",
    "PosteriorChainSettings",
    "Prior",
    "Progress",
    "Rows",
    "Sampler",
    "Selection",
    "Settings",
    "Spread",
    "StageContext",
    "State",
    "Step",
    "Streams",
    "TiltedNormal",
    "TopDown",
    "Trainer",
    "Workbench",
    "accept",
    "adjusted_langevin",
    "alone",
    "density_of_z",
    "for_rows",
    "frozen",
    "invert",
    "keep_nothing",
    "langevin_move",
    "log_normal",
    "ratio_and_gradient",
    "resampled_start",
    "rows_in_memory",
    "run_conditioned",
    "set_learning",
    "silent",
    "state_at",
    "value_and_gradient",
]
