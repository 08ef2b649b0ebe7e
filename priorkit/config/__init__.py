"""The configuration of a run: pydantic models, YAML, and `--set key=value`."""

from priorkit.config.absolute_paths import absolute_source, anchored
from priorkit.config.measuring_options import adjusted_fidelity
from priorkit.config.redacted_paths import without_places
from priorkit.config.resolve import resolve
from priorkit.config.run_config import RunConfig
from priorkit.config.sections import Component, DataSettings, EngineSettings, EvaluationSettings, FidelitySettings
from priorkit.config.versions import recorded_versions

__all__ = [
    "Component",
    "DataSettings",
    "EngineSettings",
    "EvaluationSettings",
    "FidelitySettings",
    "RunConfig",
    "absolute_source",
    "adjusted_fidelity",
    "anchored",
    "recorded_versions",
    "resolve",
    "without_places",
]
