"""Builds the parts of a run from its configuration, with seeded initial weights."""

import torch

from priorkit.config import RunConfig
from priorkit.core import Backbone, DataSpec, Sampler, Streams, Trainer, frozen, on_its_layers
from priorkit.model import Model
from priorkit.runs.plugin_errors import blamed, probe
from priorkit.wrapping import WrappedBackbone

__all__ = ["build_model", "build_trainer"]


def build_model(config: RunConfig, spec: DataSpec, device: torch.device, wrapped: WrappedBackbone | None = None) -> Model:
    """Return the run's parts. Initial weights depend only on the run's seed and the component; `wrapped` is the VAE of a run
    on one of the user's own code. Raises UsageError if the run's backbone is another."""
    backbone_class, backbone_settings = config.component("backbone")
    prior_class, prior_settings = config.component("prior")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_init_seed(config.seed, "backbone"))
        own = backbone_class(backbone_settings, spec) if wrapped is None else wrapped.bound(backbone_settings, spec)
        backbone: Backbone = own.to(device)
        torch.manual_seed(_init_seed(config.seed, "prior"))
        # A prior may walk down the generator for the shapes of its features, which must not move batch-norm statistics.
        with frozen(backbone), blamed(prior_class, "its construction"):
            prior = on_its_layers(prior_class, prior_settings, backbone.space()).to(device)
        probe(prior, backbone)
    return Model(backbone, prior, build_sampler(config), spec, build_trainer(config).posterior)


def build_sampler(config: RunConfig) -> Sampler:
    """Return the sampler named in the configuration."""
    sampler_class, settings = config.component("sampler")
    sampler: Sampler = sampler_class(settings)
    return sampler


def build_trainer(config: RunConfig) -> Trainer:
    """Return the trainer named in the configuration."""
    trainer_class, settings = config.component("trainer")
    trainer: Trainer = trainer_class(settings)
    return trainer


def _init_seed(seed: int, component: str) -> int:
    return Streams(seed).generator(f"init.{component}").initial_seed()
