"""Start or resumption of a training: nothing is written before the data and all options are valid, one process at a time
uses the folder, and a run never continues with other data than it started with."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from priorkit.config import RunConfig, anchored
from priorkit.core import Progress
from priorkit.data import Dataset
from priorkit.data.copies import tell_of_copies
from priorkit.engine import ProcessContext
from priorkit.engine.signals import StopRequest, interruptible, listening
from priorkit.errors import InterruptedRunError, PriorkitError, UsageError
from priorkit.model import Model
from priorkit.registry import installed
from priorkit.runs.folder import RunFolder
from priorkit.runs.lock import LOCK, locked
from priorkit.runs.records import DATA, read_data, write_data
from priorkit.runs.restore import restore
from priorkit.runtime.atomic_files import MANIFEST, discard, write_tensors, writing
from priorkit.workflows.assemble import build_model
from priorkit.workflows.session import open_data, use_threads
from priorkit.wrapping import WrappedBackbone

__all__ = ["Begun", "begun", "see_free", "trained_backbone"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Begun:
    """A run that is about to train."""

    config: RunConfig
    folder: RunFolder
    process: ProcessContext
    data: Dataset
    model: Model
    stop: StopRequest
    progress: Progress
    """Stops after a signal."""


@contextmanager
def begun(
    config: RunConfig,
    out: Path,
    *,
    resume: bool,
    source: Path | None,
    progress: Progress,
    wrapped: WrappedBackbone | None = None,
    data: Dataset | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> Iterator[Begun]:
    """Open the data and build the model of the configured run, then create its folder, or verify an existing one; inside the
    block the main process holds the folder's lock and handles signals.

    `source` is a run whose trained backbone is used, `wrapped` a VAE of the user's own code, `data` the configured data and
    `weights` the source's `trained_backbone`, if they are read already. Raises UsageError, with nothing written, for a
    folder in use, missing or different data and invalid options; PluginError for a broken plugin.
    """
    if config.minutes is not None:  # only a plan of the whole run can say how many steps they are
        raise UsageError(
            "minutes: only `priorkit train` and `priorkit.train` choose the steps that fit; set the steps here."
        )
    folder = RunFolder(out)
    process = ProcessContext.find(config.engine.device)
    use_threads(config.engine.threads)
    with listening() as stop, ExitStack() as held:
        if resume:
            RunFolder.existing(out)
        else:
            config = anchored(config)
        if process.is_main and resume:
            held.enter_context(locked(folder.path))
        elif process.is_main:
            see_free(folder)
        heard = interruptible(progress, stop)
        data = data or _opened(config, heard, resume)
        config = config.for_data(data.spec)
        model = build_model(config, data.spec, process.device, wrapped)
        for name in config.engine.loggers:
            installed().load("logger", name)
        if resume:
            _go_on(folder, data, is_main=process.is_main)
        else:
            backbone = None if wrapped is None else dict(wrapped.state_dict())
            if source is not None:
                backbone = _backbone(source, config, data, weights)
            if process.is_main:
                tell_of_copies(data)
                held.enter_context(_made(folder, config, data, backbone))
        yield Begun(config, folder, process, data, model, stop, heard)


def _opened(config: RunConfig, progress: Progress, resume: bool) -> Dataset:
    try:
        return open_data(config, progress)
    except InterruptedRunError as error:
        if resume:
            raise
        told = "Stopped before training started; nothing was written. Run the same command to start again."
        raise InterruptedRunError(told, error.exit_code - 128) from error


def see_free(folder: RunFolder) -> None:
    """Raise UsageError if a run cannot be created; files of a run interrupted at its start do not count."""
    path = folder.path
    with writing(path):
        there = next(one for one in (path, *path.parents) if one.exists())
        full = there == path and path.is_dir() and not all(_left(folder, item) for item in path.iterdir())
    if path.is_symlink() and there != path:
        raise UsageError(f"{path}: is a broken link. Repair or remove it, or choose another folder with --out.")
    if not there.is_dir():
        raise UsageError(
            f"{there}: is not a folder, so a run cannot be written to {path}. Choose another folder with --out."
        )
    if full:
        raise UsageError(
            f"{path}: the folder is not empty, and a run is never overwritten. Resume it with `priorkit "
            f"train --resume {path}`, or choose another folder with --out."
        )


def _left(folder: RunFolder, item: Path) -> bool:
    """Return whether an entry of the folder belongs to an incomplete start, without a configuration (written last), or is a
    lock."""
    initial = folder.initial_backbone.parent
    if item == initial and item.is_dir():
        return all(rest == folder.initial_backbone or rest.name.endswith(".part") for rest in item.iterdir())
    return item.name in (DATA, LOCK) or item.name.endswith(".part")


@contextmanager
def _made(folder: RunFolder, config: RunConfig, data: Dataset, backbone: dict[str, Tensor] | None) -> Iterator[None]:
    """Create the run's folder and hold its lock."""
    with writing(folder.path):
        folder.path.mkdir(parents=True, exist_ok=True)
    with locked(folder.path):
        see_free(folder)
        discard(folder.initial_backbone.parent)
        folder.sweep()
        if backbone is not None:
            write_tensors(folder.initial_backbone, backbone)
        write_data(folder.path, data)
        # Last, since it is what makes the folder a run.
        config.write(folder.config)
        folder.begin()
        try:
            yield
        except PriorkitError as error:
            if folder.untouched() and not isinstance(error, InterruptedRunError):
                _unmake(folder)
            raise


def _unmake(folder: RunFolder) -> None:
    """Remove a run that failed at its start, so that the corrected command is not rejected."""
    for path in (
        folder.config,
        folder.path / MANIFEST,
        folder.path / DATA,
        folder.initial_backbone.parent,
        folder.resume,
        folder.samples,
    ):
        discard(path)


def _go_on(folder: RunFolder, data: Dataset, *, is_main: bool) -> None:
    """Verify that the data are those with which the run started, and clean the folder."""
    recorded = read_data(folder.path)
    if recorded is not None and recorded.content and recorded.content != data.content:
        raise UsageError(
            f"{folder.path}: {data.spec.name} has changed since this run began (its content hash was "
            f"{recorded.content[:12]}, now it is {data.content[:12]}); resuming could train on data that "
            "are held out now. Restore the old data, or start another run."
        )
    if not is_main:
        return
    folder.sweep()
    if recorded is None:
        log.warning(
            "%s: has no hash of its data (an older run), so it is unknown whether the data have changed", folder.path
        )
        write_data(folder.path, data)
    if recorded is None or not recorded.content:
        folder.drop_kept()  # it may be of other data, and is computed again
    if (folder.weights / MANIFEST).exists() and not any(folder.resume.glob("[0-9]*")):
        log.warning("%s: has no checkpoint, so the training starts again from its first step", folder.path)
    folder.begin()


def trained_backbone(source: Path, config: RunConfig, data: Dataset) -> dict[str, Tensor]:
    """Return the backbone of the run `source`. Raises UsageError or PluginError if it does not fit the configuration."""
    origin = RunFolder.existing(source)
    weights = origin.load_weights("backbone")
    restore(build_model(config.for_data(data.spec), data.spec, torch.device("cpu")).backbone, weights, origin)
    return weights


def _backbone(source: Path, config: RunConfig, data: Dataset, weights: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """Return the trained backbone of another run, which must fit the model and must not have seen the data held out here."""
    weights = trained_backbone(source, config, data) if weights is None else dict(weights)
    origin = RunFolder.existing(source)
    recorded = read_data(origin.path)
    if recorded is None or not recorded.content or recorded.content == data.content:
        return weights
    if anchored(RunConfig.read(origin.config)).data == config.data:
        raise UsageError(
            f"--from {source}: {data.spec.name} has changed since its backbone was trained (the content "
            f"hash was {recorded.content[:12]}, now it is {data.content[:12]}), so data that are held out "
            "now may have been its training data. Restore the old data, train the backbone again, or "
            "select other data explicitly with --set data.name=zip:FILE."
        )
    log.warning(
        "--from %s: its backbone was trained on other data than %s; data that are held out here may "
        "have been its training data",
        source, data.spec.name,
    )  # fmt: skip
    return weights
