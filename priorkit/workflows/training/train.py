"""Train a run, evaluate it, write its pictures."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pluggy import PluginManager
from torch import nn

from priorkit.config import RunConfig, absolute_source
from priorkit.config.sections import DEFAULTS
from priorkit.core import Progress, Streams, Workbench, no_progress
from priorkit.core.single import single_precision
from priorkit.engine import Engine, RunState
from priorkit.errors import UsageError
from priorkit.metrics import Metric
from priorkit.metrics.cost import PeakMemory
from priorkit.registry import hooks, installed
from priorkit.registry.manager import guarded
from priorkit.runs.folder import INITIAL, RunFolder
from priorkit.runs.manifest import listed
from priorkit.runs.memory_mapped_rows import cache_rows
from priorkit.runs.plugin_errors import traced
from priorkit.runs.restore import restore
from priorkit.runtime.atomic_files import read_tensors, write_json
from priorkit.workflows.assemble import build_trainer
from priorkit.workflows.measuring.cost import cost_of_sampling
from priorkit.workflows.measuring.evaluate import measure
from priorkit.workflows.sampling.draws import Draws
from priorkit.workflows.sampling.gallery import draw_pictures
from priorkit.workflows.session import Session, open_run
from priorkit.workflows.training.begin import Begun, begun
from priorkit.workflows.training.on_wrapped import only_priors
from priorkit.workflows.unused_sections import see_file
from priorkit.wrapping import WrappedBackbone

__all__ = ["Trained", "fit", "from_run", "on_backbone", "train"]

OnLog = Callable[[str, int, dict[str, float]], None]
"""Receives phase, step and metrics of every logged step."""

OnBegin = Callable[[Begun], None]
"""Receives a run that is about to train, once its data and options are known."""

ADAPT_ON = 2_000
"""Number of training data for a backbone's data-dependent initial values."""

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
    samples: int = 2_000,
    sample_seed: int = 0,
    progress: Progress = no_progress,
    on_log: OnLog = lambda phase, step, figures: None,
    on_begin: OnBegin = lambda run: None,
) -> Trained | None:
    """Train the configured run in the folder `out`, evaluate it and write its pictures; the arguments are those of `fit`.

    `on_begin` hears of the run before its first step. Metrics use `samples` samples of each prior and the seed
    `sample_seed`; `wrapped` is the backbone of a run on a VAE of the user's own code. Returns None on all processes except
    the main one.
    """
    with (
        begun(config, out, resume=resume, source=source, progress=progress, wrapped=wrapped) as run,
        _loggers(run) as listeners,
    ):
        heard, data = run.progress, run.data
        if run.process.is_main:
            on_begin(run)
        run.model.see_room(samples, "samples")  # before hours of training
        with run.process.joined():
            state, memory = _fit(run, listeners, progress, on_log)
            session = open_run(run.folder.path, data=data, progress=heard, wrapped=wrapped)
            draws = Draws(session.model, seed=sample_seed)
            with session.shared(run.process):
                figures = measure(session.model, data, samples=samples, seed=sample_seed, draws=draws, progress=heard)
        if not run.process.is_main:
            return None
        summary = _summary(run, figures, state)
        summary |= {"samples": samples, "sample_seed": sample_seed}
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
        _loggers(run) as listeners,
        run.process.joined(),
    ):
        state, _ = _fit(run, listeners, progress, on_log)
        if run.process.is_main:
            run.folder.close()
    return state if run.process.is_main else None


def _fit(run: Begun, listeners: PluginManager, progress: Progress, on_log: OnLog) -> tuple[RunState, int | None]:
    """Run the trainer's phases until the weights are in the folder; return state and peak memory."""
    config, folder, process, data, model = run.config, run.folder, run.process, run.data, run.model

    def log(phase: str, step: int, figures: dict[str, float]) -> None:
        on_log(phase, step, figures)
        listeners.hook.priorkit_log(phase=phase, step=step, figures=figures)

    listeners.hook.priorkit_run_begin(folder=folder.path, config=config.model_dump(mode="json"))
    process.barrier()  # for the main process's folder
    streams = Streams(config.seed)
    cache = partial(folder.cache, write=process.is_main, agree=process.all_true)
    row_cache = partial(
        cache_rows,
        folder.kept,
        parallel_map=process.parallel_map,
        at_once=process.world,
        write=process.is_main,
        agree=process.all_true,
    )
    parts = (model.backbone, model.prior, model.sampler, data.train, data.heldout)
    bench = Workbench(*parts, streams, process.device, cache, run.progress, process.parallel_map, row_cache)
    learners: dict[str, nn.Module] = {"backbone": model.backbone, "prior": model.prior}
    engine = Engine(folder, process, streams, learners, config.engine, progress, run.stop, log)
    first = data.train.batch(torch.arange(min(ADAPT_ON, len(data.train))))
    model.backbone.adapt(first.to(process.device))
    if folder.initial_backbone.exists() or INITIAL in listed(folder.path):
        restore(model.backbone, read_tensors(folder.initial_backbone, listed(folder.path).get(INITIAL)), folder)
    used = [config.component(kind)[0] for kind in DEFAULTS]
    with PeakMemory(process.device) as memory, traced(used):
        state = engine.run(only_priors(build_trainer(config).phases(bench), model.backbone))
    if process.is_main:
        _save_untrained(folder, learners, state.weights)
        folder.drop_kept()
    process.barrier()  # for the weights
    return state, memory.bytes


def from_run(
    source: Path, overrides: list[str], *, backbone: str | None = None, data: str | None = None, file: Path | None = None
) -> list[str]:
    """Return overrides that use the data and the backbone of a finished run, so that only a prior is trained.

    Raises UsageError if others are requested, which would be ignored, or if the configuration `file` names another backbone;
    the log warns if that file, such as a recipe, has other options for it, or other data.
    """
    config = RunConfig.read(RunFolder.existing(source).config)
    for kind, asked, own in (("backbone", backbone, config.backbone.name), ("data", data, config.data.name)):
        if asked is not None and absolute_source(asked) != absolute_source(own):
            raise UsageError(
                f"--from {source}: uses the {kind} of that run, {own}, so --{kind} {asked} is not accepted. "
                "Leave it out; select other data explicitly with --set data.name=NAME."
            )
    if file is not None:
        see_file(file, source, config, overrides)
    return on_backbone(config, overrides)


def on_backbone(config: RunConfig, overrides: list[str]) -> list[str]:
    """Return the same for a run whose configuration is given."""
    taken = {"data": config.data.model_dump(mode="json"), "backbone": config.backbone.model_dump(mode="json")}
    pairs = [f"{kind}={json.dumps(options)}" for kind, options in taken.items()]
    return [*pairs, "trainer.backbone_steps=0", *overrides]


@contextmanager
def _loggers(run: Begun) -> Iterator[PluginManager]:
    """Yield the hooks of the configured loggers, on the main process; they are closed when the block ends."""
    names = run.config.engine.loggers if run.process.is_main else []
    loggers = [installed().load("logger", name)(run.folder.path) for name in names]
    try:
        yield hooks(loggers)
    finally:
        for logger in loggers:
            guarded(logger.close, logger)()


def _save_untrained(folder: RunFolder, learners: dict[str, nn.Module], trained: dict[str, str]) -> None:
    """Save weights that no phase trained, so that every run can be read."""
    known = dict(trained)
    for name, module in learners.items():
        if name not in trained:
            known[name] = folder.save_weights(name, dict(module.state_dict()), known)


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
