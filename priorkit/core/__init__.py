"""The contracts of every kind of plugin, and the small types that pass between them."""

from priorkit.core.backbone import Backbone, Context, Elbo, Generation, LatentSpace, Posterior, TopDown
from priorkit.core.checkpoint_format import CheckpointFormat, Imported
from priorkit.core.condition import Condition, for_rows, resampled_start
from priorkit.core.data_source import DataSource, DataSplits
from priorkit.core.data_spec import DataSpec
from priorkit.core.feature_extractor import FeatureExtractor, Features
from priorkit.core.freezing import frozen, set_learning
from priorkit.core.latents import Latents
from priorkit.core.layout import Layout
from priorkit.core.likelihood import Likelihood
from priorkit.core.logger import Logger
from priorkit.core.metric import Metric, MetricFunction
from priorkit.core.objective import Loss, Objective, OptimiserSettings, Step
from priorkit.core.planned import Planned
from priorkit.core.posterior_chain import (
    PosteriorChain,
    PosteriorChainSettings,
    density_of_z,
    invert,
    invert_and_decode,
    sharing_latents,
)
from priorkit.core.posterior_density import DiagonalPosterior, PosteriorDensity, gaussian_log_ratio, image_blocks
from priorkit.core.prior import Draw, Prior, StageContext
from priorkit.core.sampler import PerLayerSampler, Sampler
from priorkit.core.sampling import Sampling
from priorkit.core.settings import Settings
from priorkit.core.top_layers import TopLayersPrior, TopLayersSettings, on_its_layers
from priorkit.core.trainer import Examples, Phase, Selection, Trainer, Workbench
from priorkit.mcmc.chain import Chain
from priorkit.mcmc.density import LogProb
from priorkit.mcmc.tilted_normal import BaseDensity, TiltedNormal
from priorkit.runtime.cache import (
    Cache,
    ParallelMap,
    Progress,
    RowCache,
    Rows,
    no_cache,
    no_progress,
    rows_in_memory,
    serial_map,
)
from priorkit.runtime.streams import Streams

__all__ = [
    "Backbone",
    "BaseDensity",
    "Cache",
    "Chain",
    "CheckpointFormat",
    "Condition",
    "Context",
    "DataSource",
    "DataSpec",
    "DataSplits",
    "DiagonalPosterior",
    "Draw",
    "Elbo",
    "Examples",
    "FeatureExtractor",
    "Features",
    "Generation",
    "Imported",
    "LatentSpace",
    "Latents",
    "Layout",
    "Likelihood",
    "LogProb",
    "Logger",
    "Loss",
    "Metric",
    "MetricFunction",
    "Objective",
    "OptimiserSettings",
    "ParallelMap",
    "PerLayerSampler",
    "Phase",
    "Planned",
    "Posterior",
    "PosteriorChain",
    "PosteriorChainSettings",
    "PosteriorDensity",
    "Prior",
    "Progress",
    "RowCache",
    "Rows",
    "Sampler",
    "Sampling",
    "Selection",
    "Settings",
    "StageContext",
    "Step",
    "Streams",
    "TiltedNormal",
    "TopDown",
    "TopLayersPrior",
    "TopLayersSettings",
    "Trainer",
    "Workbench",
    "density_of_z",
    "for_rows",
    "frozen",
    "gaussian_log_ratio",
    "image_blocks",
    "invert",
    "invert_and_decode",
    "no_cache",
    "no_progress",
    "on_its_layers",
    "resampled_start",
    "rows_in_memory",
    "serial_map",
    "set_learning",
    "sharing_latents",
]
