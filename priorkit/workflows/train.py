"""Train a run, measure it, draw its pictures."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pluggy import PluginManager
from torch import nn

from priorkit.config import RunConfig
from priorkit.config.sections import DEFAULTS
from priorkit.core import Progress, Streams, Workbench, silent
from priorkit.core.single import single_precision
from priorkit.data import Dataset
from priorkit.engine import Engine, Place, RunState
from priorkit.engine.signals import StopRequest, interruptible, listening
from priorkit.errors import UsageError
from priorkit.metrics import Figure
from priorkit.metrics.cost import PeakMemory
from priorkit.plugins import hooks, installed
from priorkit.plugins.manager import guarded
from priorkit.runs.atomic import read_tensors, write_json, write_tensors
from priorkit.runs.conduct import traced
from priorkit.runs.folder import RunFolder
from priorkit.runs.restore import restore
from priorkit.runs.rows import keep_rows
from priorkit.workflows.assemble import build_model, build_trainer
from priorkit.workflows.cost import cost_of_sampling
from priorkit.workflows.draws import Draws
from priorkit.workflows.evaluate import measure
from priorkit.workflows.gallery import draw_pictures
from priorkit.workflows.session import Session, open_data, open_run, save_spec, use_threads

__all__ = ["Trained", "fit", "from_run", "on_backbone", "train"]

OnLog = Callable[[str, int, dict[str, float]], None]
"""Hears phase, step and figures of every logged step."""

ADAPT_ON = 2_000
"""Training data that a backbone sees for its data-dependent initial values."""


@dataclass
class Trained:
    """A finished run."""

    session: Session
    figures: dict[str, Figure]
    seconds: dict[str, float]


@single_precision()
def train(
    config: RunConfig,
    out: Path,
    *,
    resume: bool = False,
    source: Path | None = None,
    samples: int = 2_000,
    sample_seed: int = 0,
    progress: Progress = silent,
    on_log: OnLog = lambda phase, step, figures: None,
) -> Trained | None:
    """Fit the configured run in the folder `out`, measure it and draw its pictures; the arguments are those of `fit`.

    Figures are of `samples` samples of each prior, from the seed `sample_seed`.  Gives None on processes that do not lead.
    """
    place = _begin(config, out, resume, source)
    with _loggers(config, out, place) as listeners:
        with listening() as stop:
            heard = interruptible(progress, stop)
            with place.joined():
                state, data, memory = _fit(config, out, place, listeners, stop, progress, on_log)
                session = open_run(out, data=data, progress=heard)
                draws = Draws(session.model, seed=sample_seed)
                with session.shared(place):
                    figures = measure(session.model, data, samples=samples, seed=sample_seed, draws=draws, progress=heard)
            if not place.leads:
                return None
            summary = _summary(config, out, figures, state)
            summary |= {"samples": samples, "sample_seed": sample_seed}
            summary["cost"] |= {"peak_memory_bytes": memory, **cost_of_sampling(session.model, draws.sampler())}
            write_json(session.folder.summary, summary)
            draw_pictures(session, draws=draws, progress=heard)
        listeners.hook.priorkit_run_end(folder=out, summary=summary)
    return Trained(session, figures, state.seconds)


@single_precision()
def fit(
    config: RunConfig,
    out: Path,
    *,
    resume: bool = False,
    source: Path | None = None,
    progress: Progress = silent,
    on_log: OnLog = lambda phase, step, figures: None,
) -> RunState | None:
    """Train the configured run in the folder `out`, from its latest checkpoint with `resume`.

    `source` is a run whose trained backbone is taken over (see `from_run`).  Gives None on processes that do not lead.
    """
    place = _begin(config, out, resume, source)
    with _loggers(config, out, place) as listeners, listening() as stop, place.joined():
        state, _, _ = _fit(config, out, place, listeners, stop, progress, on_log)
    return state if place.leads else None


def _begin(config: RunConfig, out: Path, resume: bool, source: Path | None) -> Place:
    """Make the run's folder, or see that it is there, and find this process's place."""
    place = Place.find(config.engine.device)
    if resume:
        RunFolder.existing(out)
    elif place.leads:
        _prepare(config, out, source)
    use_threads(config.engine.threads)
    return place


def _fit(
    config: RunConfig, out: Path, place: Place, listeners: PluginManager, stop: StopRequest,
    progress: Progress, on_log: OnLog,
) -> tuple[RunState, Dataset, int | None]:  # fmt: skip
    """Execute the trainer's phases until the weights are in the folder; gives state, data and peak memory."""
    folder = RunFolder(out)

    def log(phase: str, step: int, figures: dict[str, float]) -> None:
        on_log(phase, step, figures)
        listeners.hook.priorkit_log(phase=phase, step=step, figures=figures)

    heard = interruptible(progress, stop)
    data = open_data(config, heard)
    model = build_model(config, data.spec, place.device)
    listeners.hook.priorkit_run_begin(folder=out, config=config.model_dump(mode="json"))
    place.wait()  # for the leading process's folder
    streams = Streams(config.seed)
    keep = partial(folder.keep, write=place.leads, agree=place.all_agree)
    keep_all = partial(
        keep_rows, folder.kept, spread=place.spread, at_once=place.world, write=place.leads, agree=place.all_agree
    )
    parts = (model.backbone, model.prior, model.sampler, data.train, data.heldout)
    bench = Workbench(*parts, streams, place.device, keep, heard, place.spread, keep_all)
    learners: dict[str, nn.Module] = {"backbone": model.backbone, "prior": model.prior}
    engine = Engine(folder, place, streams, learners, config.engine, progress, stop, log)
    first = data.train.batch(torch.arange(min(ADAPT_ON, len(data.train))))
    model.backbone.adapt(first.to(place.device))
    if folder.initial_backbone.exists():
        restore(model.backbone, read_tensors(folder.initial_backbone), folder)
    used = [config.component(kind)[0] for kind in DEFAULTS]
    with PeakMemory(place.device) as memory, traced(used):
        state = engine.run(build_trainer(config).phases(bench))
    if place.leads:
        save_spec(folder, data)
        _save_untrained(folder, learners, state.weights)
        folder.drop_kept()
    place.wait()  # for the weights
    return state, data, memory.bytes


def from_run(source: Path, overrides: list[str]) -> list[str]:
    """Overrides that take the data and the backbone of a finished run and train only a prior on it."""
    return on_backbone(RunConfig.read(RunFolder.existing(source).config), overrides)


def on_backbone(config: RunConfig, overrides: list[str]) -> list[str]:
    """The same for a run that is known by its configuration."""
    taken = {"data": config.data.model_dump(mode="json"), "backbone": config.backbone.model_dump(mode="json")}
    pairs = [f"{kind}={json.dumps(options)}" for kind, options in taken.items()]
    return [*pairs, "trainer.backbone_steps=0", *overrides]


def _prepare(config: RunConfig, out: Path, source: Path | None) -> RunFolder:
    folder = RunFolder(out)
    _clear_beginning(folder)
    if out.exists() and any(not path.name.endswith(".part") for path in out.iterdir()):
        raise UsageError(
            f"{out}: the folder is not empty, and a run is never overwritten. Go on with it by "
            f"`priorkit train --resume {out}`, or name another folder with --out."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out}: cannot be made ({error.strerror}). Name another folder with --out.") from error
    if source is not None:
        write_tensors(folder.initial_backbone, RunFolder.existing(source).load_weights("backbone"))
    config.write(folder.config)
    return folder


def _clear_beginning(folder: RunFolder) -> None:
    """Remove the initial weights where a run that was killed while it began has left nothing else."""
    initial = folder.initial_backbone.parent
    if not initial.is_dir():
        return
    found = [path for path in (*folder.path.iterdir(), *initial.iterdir()) if not path.name.endswith(".part")]
    if not {*found} - {initial, folder.initial_backbone}:
        shutil.rmtree(initial, ignore_errors=True)


@contextmanager
def _loggers(config: RunConfig, out: Path, place: Place) -> Iterator[PluginManager]:
    """The hooks of the loggers that the configuration names, on the leading process; closed when the block ends."""
    loggers = [installed().load("logger", name)(out) for name in config.engine.loggers] if place.leads else []
    try:
        yield hooks(loggers)
    finally:
        for logger in loggers:
            guarded(logger.close, logger)()


def _save_untrained(folder: RunFolder, learners: dict[str, nn.Module], trained: dict[str, str]) -> None:
    """Weights of what no phase trained, so that every run can be read back."""
    for name, module in learners.items():
        if name not in trained:
            folder.save_weights(name, dict(module.state_dict()))


def _summary(config: RunConfig, out: Path, figures: dict[str, Figure], state: RunState) -> dict[str, Any]:
    return {
        "run": str(out),
        "backbone": config.backbone.name,
        "prior": config.prior.name,
        "data": config.data.name,
        "seed": config.seed,
        "metrics": {name: figure.as_dict() for name, figure in figures.items()},
        "phases": state.done,
        "cost": {"seconds": state.seconds, "threads": torch.get_num_threads(), "skipped_steps": state.skipped},
    }
