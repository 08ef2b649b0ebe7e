"""A run opened for evaluation and sampling: its folder, configuration, data and model."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from priorkit.config import RunConfig
from priorkit.core import Progress, no_progress, serial_map
from priorkit.core.single import single_precision
from priorkit.data import Dataset
from priorkit.data import load as load_data
from priorkit.engine import ProcessContext
from priorkit.engine.world import World
from priorkit.errors import UsageError
from priorkit.model import Model
from priorkit.runs.folder import RunFolder
from priorkit.runs.records import DATA, RecordedData, read_data
from priorkit.runs.restore import restore
from priorkit.workflows.assemble import build_model
from priorkit.wrapping import WrappedBackbone, see_wrapped

__all__ = ["Session", "open_data", "open_run", "share_work", "use_threads"]

log = logging.getLogger(__name__)


@dataclass
class Session:
    """Everything that a command needs from a finished run."""

    folder: RunFolder
    config: RunConfig
    model: Model
    progress: Progress = no_progress
    is_main: bool = True
    """False in the helper processes, which write and print nothing."""

    @contextmanager
    def shared(self, process: ProcessContext) -> Iterator[None]:
        """Share sampling, decoding and encoding among the processes of a group inside the block; each must make the same
        calls.

        The results are those of a single process, since every chunk has a separate random stream.
        """
        self.model.parallel_map, self.is_main = process.parallel_map, process.is_main
        try:
            yield
        finally:
            self.model.parallel_map = serial_map

    @cached_property
    def data(self) -> Dataset:
        """The run's data, opened on first access; the log warns if they have changed since training.

        Raises UsageError if they have another shape than in training, or if data.json contradicts them.
        """
        data = open_data(self.config, self.progress)
        if (saved := read_data(self.folder.path)) is not None:
            _compare(self.folder, saved, data)
        return data


@single_precision()
@torch.inference_mode(False)  # otherwise the weights could not take part in the gradients of chains later
def open_run(
    path: Path, data: Dataset | None = None, *, progress: Progress = no_progress, wrapped: WrappedBackbone | None = None
) -> Session:
    """Read a finished run. Its data are opened only when needed, and not at all if they are given. A run on a VAE of the
    user's own code needs it as `wrapped`, which gets the run's weights."""
    see_wrapped(wrapped)
    folder = RunFolder.existing(path)
    config = RunConfig.read(folder.config)
    use_threads(config.engine.threads)
    if data is not None:
        spec = data.spec
    elif (saved := read_data(folder.path)) is not None:
        spec = saved.spec
    else:
        data = open_data(config, progress)
        spec = data.spec
    process = ProcessContext.find(config.engine.device)
    model = build_model(config, spec, process.device, wrapped)
    restore(model.backbone, folder.load_weights("backbone"), folder)
    restore(model.prior, folder.load_weights("prior"), folder)
    for module in (model.backbone, model.prior):
        module.eval().requires_grad_(False)
    session = Session(folder, config, model, progress)
    if data is not None:
        session.data = data
    return session


@contextmanager
def share_work(session: Session) -> Iterator[Session]:
    """Share the work of a session among all processes with which this command was launched, inside the block."""
    process = ProcessContext.find(session.config.engine.device)
    with process.joined(), session.shared(process):
        yield session


def _compare(folder: RunFolder, saved: RecordedData, data: Dataset) -> None:
    """Compare the run's record of its data with the data."""
    if saved.content and saved.content != data.content:
        log.warning(
            "%s: %s has changed since the run was trained; data that are held out now may have been "
            "training data",
            folder.path, data.spec.name,
        )  # fmt: skip
    before, now = saved.spec, data.spec
    if (before.shape, before.levels, before.classes) != (now.shape, now.levels, now.classes):
        told = f"shape {before.shape}, {before.levels} grey levels and {before.classes} classes"
        found = f"{now.shape}, {now.levels} and {now.classes}"
        raise UsageError(
            f"{folder.path / DATA}: contains {told}, but {now.name} has {found}. Restore the file, or the "
            "training data of the run."
        )


@single_precision()
def open_data(config: RunConfig, progress: Progress) -> Dataset:
    """Return the data set named in the configuration."""
    data = config.data
    root = None if data.root is None else Path(data.root)
    return load_data(data.name, root=root, holdout=data.holdout, heldout=data.heldout, progress=progress)


def use_threads(threads: int | None) -> None:
    """Fix the number of threads. Sums are split by thread, so results depend on it bit by bit.

    None selects OMP_NUM_THREADS if it is set and the run has one process here (`torchrun` sets it to 1 for several), else
    the cores available to this process, shared with the other processes of the run on this machine.
    """
    processes, asked = World.read().local_size, os.environ.get("OMP_NUM_THREADS", "")
    if threads is None and processes == 1 and asked.isdecimal() and int(asked):
        threads = int(asked)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(threads or max(1, cores // processes))
