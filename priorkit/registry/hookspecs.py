"""The hooks of a run for loggers and other observers.

A component marks a method of one of these names with `hookimpl`; it may take fewer arguments than the specification.
Return values are ignored, and an implementation that raises an exception is disabled, so it cannot stop a run. The
hooks are called in the main process only.
"""

from pathlib import Path
from typing import Any

import pluggy

__all__ = ["HookSpecs", "hookimpl", "hookspec"]

hookspec = pluggy.HookspecMarker("priorkit")
hookimpl = pluggy.HookimplMarker("priorkit")


class HookSpecs:
    """The hooks, by name."""

    @hookspec
    def priorkit_run_begin(self, folder: Path, config: dict[str, Any]) -> None:
        """A run starts or resumes in `folder`; `config` has the contents of its config.yaml."""

    @hookspec
    def priorkit_log(self, phase: str, step: int, figures: dict[str, float]) -> None:
        """Metrics of step `step` of phase `phase`; steps start at 0 in each phase."""

    @hookspec
    def priorkit_run_end(self, folder: Path, summary: dict[str, Any]) -> None:
        """The run in `folder` is complete; `summary` has the contents of its summary.json."""
