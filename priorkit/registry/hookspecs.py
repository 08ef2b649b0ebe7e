"""What a running experiment tells those who listen.

A component marks a method of one of these names with `hookimpl`; it may take fewer arguments than the specification.
The hooks only tell: what they give back is not read, and one that raises is switched off, so that no listener can
stop a run.  They are called on the main process alone.
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
        """A run begins or resumes in `folder`; `config` is what its config.yaml holds."""

    @hookspec
    def priorkit_log(self, phase: str, step: int, figures: dict[str, float]) -> None:
        """Figures of step `step` of phase `phase`; steps count from 0 in each phase."""

    @hookspec
    def priorkit_run_end(self, folder: Path, summary: dict[str, Any]) -> None:
        """The run in `folder` is complete; `summary` is what its summary.json holds."""
