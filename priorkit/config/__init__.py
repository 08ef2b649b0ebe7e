"""The configuration of a run: pydantic models, YAML, and `--set key=value`."""

from priorkit.config.adjusted import adjusted_fidelity
from priorkit.config.anchored import absolute_source, anchored
from priorkit.config.places import without_places
from priorkit.config.resolve import resolve
from priorkit.config.run_config import RunConfig
from priorkit.config.sections import Component, DataSettings, EngineSettings, FidelitySettings
from priorkit.config.versions import recorded_versions

__all__ = [
    "Component",
    "DataSettings",
    "EngineSettings",
    "FidelitySettings",
    "RunConfig",
    "absolute_source",
    "adjusted_fidelity",
    "anchored",
    "recorded_versions",
    "resolve",
    "without_places",
]
