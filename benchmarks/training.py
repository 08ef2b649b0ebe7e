"""A benchmark's runs: trained if they are not there, gone on with if they were interrupted, read if they are finished."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from priorkit.config import RunConfig, resolve
from priorkit.engine import RunState
from priorkit.report.progress import showing
from priorkit.workflows.training.train import OnLog, fit, from_run, train

__all__ = ["fit_run", "is_fitted", "train_run"]

WRITTEN_LAST = ("data.json", "weights/backbone.safetensors", "weights/prior.safetensors")
"""`data.json` when the last phase has ended, and weights that no phase trained after it."""


def train_run(out: Path, options: list[str], source: Path | None = None) -> dict[str, Any]:
    """The summary of the run in `out`, which is trained first, or on, if it is not finished, as `priorkit train` does.

    `source` is a run whose backbone is taken.
    """
    summary = out / "summary.json"
    if not summary.exists():
        config, resume, source = _begun(out, options, source)
        with showing(Console(stderr=True)) as progress:
            train(config, out, resume=resume, source=source, progress=progress)
    found: dict[str, Any] = json.loads(summary.read_text())
    return found


def fit_run(
    out: Path, options: list[str], source: Path | None = None, *, on_log: OnLog | None = None, quiet: bool = False
) -> RunState | None:
    """Train the run in `out`, or on, without the figures and pictures that `priorkit train` ends with."""
    config, resume, source = _begun(out, options, source)
    heard = {} if on_log is None else {"on_log": on_log}
    with showing(Console(stderr=True), quiet=quiet) as progress:
        return fit(config, out, resume=resume, source=source, progress=progress, **heard)


def is_fitted(out: Path) -> bool:
    """Whether `fit_run` has nothing left to do."""
    return all((out / name).exists() for name in WRITTEN_LAST)


def _begun(out: Path, options: list[str], source: Path | None) -> tuple[RunConfig, bool, Path | None]:
    """The configuration, whether the run in `out` is gone on with, and the run whose backbone it takes.  A run that was
    begun keeps its options."""
    if (out / "config.yaml").exists():
        return RunConfig.read(out / "config.yaml"), True, None
    return resolve(None, from_run(source, options) if source else options), False, source
