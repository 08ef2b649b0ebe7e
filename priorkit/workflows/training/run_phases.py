"""The phases of a run: everything that the engine needs, from a run that has begun."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from pluggy import PluginManager
from torch import nn

from priorkit.config.sections import DEFAULTS
from priorkit.core import Progress, Streams, Workbench
from priorkit.engine import Engine, RunState, Watch
from priorkit.metrics.cost import PeakMemory
from priorkit.registry import hooks, installed
from priorkit.registry.manager import guarded
from priorkit.runs.folder import RunFolder
from priorkit.runs.memory_mapped_rows import cache_rows
from priorkit.runs.plugin_errors import traced
from priorkit.runs.restore import restore
from priorkit.workflows.assemble import build_trainer
from priorkit.workflows.training.begin import Begun
from priorkit.workflows.training.on_wrapped import only_priors

__all__ = ["OnLog", "opened_loggers", "run_phases", "workbench"]

OnLog = Callable[[str, int, dict[str, float]], None]
"""Receives phase, step and metrics of every logged step."""

ADAPT_ON = 2_000
"""Number of training data for a backbone's data-dependent initial values."""


def run_phases(
    run: Begun, listeners: PluginManager, progress: Progress, on_log: OnLog, watches: Sequence[Watch] = ()
) -> tuple[RunState, int | None]:
    """Run the trainer's phases until the weights are in the folder; return state and peak memory in bytes."""
    config, folder, process, data, model = run.config, run.folder, run.process, run.data, run.model

    def log(phase: str, step: int, figures: dict[str, float]) -> None:
        on_log(phase, step, figures)
        listeners.hook.priorkit_log(phase=phase, step=step, figures=figures)

    listeners.hook.priorkit_run_begin(folder=folder.path, config=config.model_dump(mode="json"))
    process.barrier()  # for the main process's folder
    bench = workbench(run)
    learners: dict[str, nn.Module] = {"backbone": model.backbone, "prior": model.prior}
    engine = Engine(folder, process, bench.streams, learners, config.engine, progress, run.stop, log, watches)
    first = data.train.batch(torch.arange(min(ADAPT_ON, len(data.train))))
    model.backbone.adapt(first.to(process.device))
    if (backbone := folder.load_initial_backbone()) is not None:
        restore(model.backbone, backbone, folder)
    used = [config.component(kind)[0] for kind in DEFAULTS]
    with PeakMemory(process.device) as memory, traced(used):
        state = engine.run(only_priors(build_trainer(config).phases(bench), model.backbone))
    if process.is_main:
        _save_untrained(folder, learners, state.weights)
        folder.drop_kept()
    process.barrier()  # for the weights
    return state, memory.bytes


def workbench(run: Begun) -> Workbench:
    """Return what a trainer works with."""
    process, folder, model, data = run.process, run.folder, run.model, run.data
    streams = Streams(run.config.seed)
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
    return Workbench(*parts, streams, process.device, cache, run.progress, process.parallel_map, row_cache)


@contextmanager
def opened_loggers(run: Begun) -> Iterator[PluginManager]:
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
