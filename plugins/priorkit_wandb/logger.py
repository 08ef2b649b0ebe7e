"""A logger that sends metrics to Weights & Biases.

It is configured by the library's environment variables, such as WANDB_PROJECT, WANDB_ENTITY and WANDB_MODE=offline, and by
`wandb login`.
"""

import os
from math import isfinite
from pathlib import Path
from typing import Any

from priorkit.config import without_places
from priorkit.core import Logger
from priorkit.errors import UsageError
from priorkit.registry import hookimpl

__all__ = ["WandbLogger"]

PROJECT = "priorkit"


class WandbLogger(Logger):
    """Sends every logged metric to Weights & Biases, as PHASE/METRIC over the phase's steps, and the final metrics as
    the run's summary. Its files and the run's id are in the folder `wandb` of the run."""

    def __init__(self, folder: Path) -> None:
        """Raises UsageError if wandb is not installed or cannot start a run."""
        super().__init__(folder)
        try:
            import wandb
        except ImportError as error:
            raise UsageError(
                "the wandb logger needs Weights & Biases: pip install priorkit[wandb], or leave it out of engine.loggers"
            ) from error
        self.phases: set[str] = set()
        self.complete = False
        files = folder / "wandb"
        # Created first: if it is missing, the library silently uses the system's temporary folder.
        files.mkdir(parents=True, exist_ok=True)
        known = files / "id"
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        identity = known.read_text(encoding="utf-8").strip() if known.is_file() else None
        try:
            self.run = wandb.init(project=project, name=folder.name, dir=str(folder), id=identity, resume="allow")
        except Exception as error:  # a missing key, network or service each raise their own
            said = " ".join(str(error).split())[:300]
            raise UsageError(
                f"the wandb logger could not start a run ({type(error).__name__}: {said}). Run `wandb login`, set "
                "WANDB_MODE=offline, or leave it out of engine.loggers."
            ) from error
        part = known.with_name(".id.part")
        part.write_text(f"{self.run.id}\n", encoding="utf-8")
        part.replace(known)

    @hookimpl
    def priorkit_run_begin(self, config: dict[str, Any]) -> None:
        """Record the configuration of the run, without the folders of this machine."""
        self.run.config.update(without_places(config), allow_val_change=True)

    @hookimpl
    def priorkit_log(self, phase: str, step: int, figures: dict[str, float]) -> None:
        """Log one value per metric. The library's step only increases, while steps restart in each phase."""
        if phase not in self.phases:
            self.phases.add(phase)
            self.run.define_metric(f"{phase}/step", hidden=True)
            self.run.define_metric(f"{phase}/*", step_metric=f"{phase}/step")
        self.run.log({f"{phase}/step": step, **{f"{phase}/{name}": value for name, value in figures.items()}})

    @hookimpl
    def priorkit_run_end(self, summary: dict[str, Any]) -> None:
        """Record the final metrics, each with its spread; their protocols are in the run's summary.json."""
        for name, figure in summary["metrics"].items():
            for part in ("value", "spread"):
                if figure[part] is not None and isfinite(figure[part]):
                    self.run.summary[name if part == "value" else f"{name}_spread"] = figure[part]
        self.complete = True

    def close(self) -> None:
        """End the run; an incomplete run is marked as failed until it is resumed."""
        self.run.finish(exit_code=0 if self.complete else 1)
