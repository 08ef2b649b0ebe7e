"""Train a run, evaluate it, write its pictures."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from priorkit.config import DataSettings, RunConfig, absolute_source
from priorkit.core import Progress, no_progress
from priorkit.core.single import single_precision
from priorkit.data import Dataset
from priorkit.engine import RunState, Watch
from priorkit.errors import UsageError
from priorkit.metrics import Metric
from priorkit.runs.folder import RunFolder
from priorkit.runtime.atomic_files import write_json
from priorkit.workflows.measuring.cost import cost_of_sampling
from priorkit.workflows.measuring.evaluate import Evaluation, measure
from priorkit.workflows.sampling.draws import Draws
from priorkit.workflows.sampling.gallery import draw_pictures
from priorkit.workflows.sampling.live import LivePictures
from priorkit.workflows.session import Session, open_run
from priorkit.workflows.training.begin import Begun, begun
from priorkit.workflows.training.estimate import FirstEstimate, OnEstimate
from priorkit.workflows.training.run_phases import OnLog, opened_loggers, run_phases
from priorkit.workflows.unused_sections import see_file
from priorkit.wrapping import WrappedBackbone

__all__ = ["Trained", "fit", "from_run", "on_backbone", "train"]

OnBegin = Callable[[Begun], None]
"""Receives a run that is about to train, once its data and options are known."""

VARIANT = re.compile(r"_(gaussian|posterior|stage_\d+)(_|$)")
"""In names of metrics that rank no row of a comparison."""


@dataclass
class Trained:
    """A finished run."""

    session: Session
    figures: dict[str, Metric]
    seconds: dict[str, float]


@single_precision()
@torch.inference_mode(False)
@torch.enable_grad()
def train(
    config: RunConfig,
    out: Path,
    *,
    resume: bool = False,
    source: Path | None = None,
    wrapped: WrappedBackbone | None = None,
    evaluation: Evaluation | None = None,
    sample_seed: int = 0,
    progress: Progress = no_progress,
    on_log: OnLog = lambda phase, step, figures: None,
    on_begin: OnBegin = lambda run: None,
    on_estimate: OnEstimate | None = None,
    data: Dataset | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> Trained | None:
    """Train the configured run in the folder `out`, evaluate it and write its pictures; the arguments are those of `fit`.

    `on_begin` hears of the run before its first step; `on_estimate`, after its first steps, of what a long one will take.
    `data` are the configured data and `weights` the source's backbone, if a plan has read them already. The `evaluation` at
    the end, by default the configured one, uses the seed `sample_seed`.
    Returns None on all processes except the main one.
    """
    evaluation = evaluation or Evaluation.of(config)
    started = begun(
        config, out, resume=resume, source=source, progress=progress, wrapped=wrapped, data=data, weights=weights
    )
    with started as run, opened_loggers(run) as listeners:
        heard, data = run.progress, run.data
        if run.process.is_main:
            on_begin(run)
        run.model.see_room(evaluation.samples, "samples")  # before hours of training
        with run.process.joined():
            watches: list[Watch] = [LivePictures(run.model, data, run.folder)]
            if on_estimate is not None and run.process.world == 1 and not resume:
                backbone = run.folder.load_initial_backbone  # not read unless the run is long
                watches.append(FirstEstimate(run.config, data, evaluation, on_estimate, heard, backbone))
            state, memory = run_phases(run, listeners, progress, on_log, watches)
            session = open_run(run.folder.path, data=data, progress=heard, wrapped=wrapped)
            draws = Draws(session.model, seed=sample_seed, progress=heard)
            with session.shared(run.process):
                figures = measure(
                    session.model,
                    data,
                    metrics=evaluation.groups,
                    samples=evaluation.samples,
                    seed=sample_seed,
                    draws=draws,
                    progress=heard,
                )
        if not run.process.is_main:
            return None
        summary = _summary(run, figures, state)
        summary |= {"samples": evaluation.samples, "sample_seed": sample_seed}
        summary["cost"] |= {"peak_memory_bytes": memory, **cost_of_sampling(session.model, draws.sampler())}
        write_json(session.folder.summary, summary)
        run.folder.close()
        draw_pictures(session, draws=draws, progress=heard)
        run.folder.close()  # the pictures too
        listeners.hook.priorkit_run_end(folder=run.folder.path, summary=summary)
    return Trained(session, figures, state.seconds)


@single_precision()
@torch.inference_mode(False)
@torch.enable_grad()
def fit(
    config: RunConfig,
    out: Path,
    *,
    resume: bool = False,
    source: Path | None = None,
    progress: Progress = no_progress,
    on_log: OnLog = lambda phase, step, figures: None,
) -> RunState | None:
    """Train the configured run in the folder `out`; with `resume` from its latest checkpoint.

    `source` is a run whose trained backbone is used (see `from_run`). Returns None on all processes except the main one.
    """
    with (
        begun(config, out, resume=resume, source=source, progress=progress) as run,
        opened_loggers(run) as listeners,
        run.process.joined(),
    ):
        state, _ = run_phases(run, listeners, progress, on_log)
        if run.process.is_main:
            run.folder.close()
    return state if run.process.is_main else None


def from_run(
    source: Path, overrides: list[str], *, backbone: str | None = None, data: str | None = None, file: Path | None = None
) -> list[str]:
    """Return overrides that use the backbone of a finished run, so that only a prior is trained, and its data unless other
    `data` are requested; these have their own options.

    Raises UsageError if another backbone is requested, which would be ignored, also by the configuration `file`; the log
    warns if that file, such as a recipe, has other options for it, or other data.
    """
    config = RunConfig.read(RunFolder.existing(source).config)
    own = config.backbone.name
    if backbone is not None and backbone != own:
        raise UsageError(
            f"--from {source}: uses the backbone of that run, {own}, so --backbone {backbone} is not accepted. Leave it out."
        )
    if file is not None:
        see_file(file, source, config, overrides)
    other = data is not None and absolute_source(data) != absolute_source(config.data.name)
    return on_backbone(config, overrides, data=None if other else config.data)


def on_backbone(config: RunConfig, overrides: list[str], *, data: DataSettings | None) -> list[str]:
    """Return the same for a run whose configuration is given, with the options of its `data` if they are used too."""
    taken = {"backbone": config.backbone.model_dump(mode="json")}
    if data is not None:
        taken["data"] = data.model_dump(mode="json")
    pairs = [f"{kind}={json.dumps(options)}" for kind, options in taken.items()]
    return [*pairs, "trainer.backbone_steps=0", *overrides]


def _summary(run: Begun, figures: dict[str, Metric], state: RunState) -> dict[str, Any]:
    config = run.config
    return {
        "run": str(run.folder.path),
        "backbone": config.backbone.name,
        "prior": config.prior.name,
        "data": config.data.name,
        "seed": config.seed,
        "metrics": {name: figure.as_dict() for name, figure in figures.items()},
        # As text: a line for each metric, not one for each number.
        "resamples": {
            name: " ".join(f"{value:.8g}" for value in figure.resamples)
            for name, figure in figures.items()
            if figure.resamples and not VARIANT.search(name)
        },
        "phases": state.done,
        "cost": {"seconds": state.seconds, "threads": torch.get_num_threads(), "skipped_steps": state.skipped},
    }
