"""The configuration of a run: pydantic models, YAML, and `--set key=value`."""

from priorkit.config.resolve import resolve
from priorkit.config.run_config import RunConfig
from priorkit.config.sections import Component, DataSettings, EngineSettings

__all__ = ["Component", "DataSettings", "EngineSettings", "RunConfig", "resolve"]
