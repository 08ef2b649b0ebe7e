"""A run opened for measuring and sampling: its folder, configuration, data and model."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch

from priorkit.config import RunConfig
from priorkit.core import DataSpec, Progress, alone, silent
from priorkit.core.single import single_precision
from priorkit.data import Dataset
from priorkit.data import load as load_data
from priorkit.engine import Place
from priorkit.engine.world import World
from priorkit.runs.atomic import write_json
from priorkit.runs.folder import RunFolder
from priorkit.runs.model import Model
from priorkit.runs.restore import restore
from priorkit.workflows.assemble import build_model

__all__ = ["Session", "open_data", "open_run", "save_spec", "share_work", "use_threads"]

SPEC = "data.json"

log = logging.getLogger(__name__)


@dataclass
class Session:
    """Everything that a command needs of a finished run."""

    folder: RunFolder
    config: RunConfig
    model: Model
    progress: Progress = silent
    leads: bool = True
    """False on the processes that only help with the work: they write and say nothing."""

    @contextmanager
    def shared(self, place: Place) -> Iterator[None]:
        """The processes of a group draw, decode and encode together while the block runs; each must do the same in it.

        The results are those of one process, since every chunk has a random stream of its own.
        """
        self.model.spread, self.leads = place.spread, place.leads
        try:
            yield
        finally:
            self.model.spread = alone

    @cached_property
    def data(self) -> Dataset:
        """The run's data, opened when they are first asked for; the log warns if they have changed since the training."""
        data = open_data(self.config, self.progress)
        saved = _saved(self.folder)
        if saved is not None and saved[1] and saved[1] != data.content:
            log.warning("%s: %s is no longer what the run was trained on", self.folder.path, data.spec.name)
        return data


@single_precision()
def open_run(path: Path, data: Dataset | None = None, *, progress: Progress = silent) -> Session:
    """Read a finished run back.  Its data are opened only when they are needed, and not at all where they are given."""
    folder = RunFolder.existing(path)
    config = RunConfig.read(folder.config)
    use_threads(config.engine.threads)
    if data is not None:
        spec = data.spec
    elif (saved := _saved(folder)) is not None:
        spec = saved[0]
    else:
        data = open_data(config, progress)
        spec = data.spec
    place = Place.find(config.engine.device)
    model = build_model(config, spec, place.device)
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
    """For as long as the block runs, all processes that this command was launched as do the work of a session together."""
    place = Place.find(session.config.engine.device)
    with place.joined(), session.shared(place):
        yield session


def save_spec(folder: RunFolder, data: Dataset) -> None:
    """Write data.json: what a reader must know of the data to build the run's model without them."""
    write_json(folder.path / SPEC, {**asdict(data.spec), "content": data.content, "protocol": data.protocol})


def _saved(folder: RunFolder) -> tuple[DataSpec, str] | None:
    """The data's shape and content hash that the run's folder keeps; None where it does not.

    The hash is empty for an imported backbone, whose file does not tell what exactly it was trained on.
    """
    try:
        saved = json.loads((folder.path / SPEC).read_bytes())
        spec = DataSpec(saved["name"], tuple(saved["shape"]), saved["levels"], saved["classes"])
        return spec, saved["content"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


@single_precision()
def open_data(config: RunConfig, progress: Progress) -> Dataset:
    """The data set that the configuration names."""
    data = config.data
    root = None if data.root is None else Path(data.root)
    return load_data(data.name, root=root, holdout=data.holdout, heldout=data.heldout, progress=progress)


def use_threads(threads: int | None) -> None:
    """Fix the number of threads; sums are split by thread, so that bits depend on it.

    None takes the cores that this process may use, shared with the other processes of the run on this machine.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(threads or max(1, cores // World.read().local_size))
