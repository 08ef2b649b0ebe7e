"""A run opened for measuring and sampling: its folder, configuration, data and model."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from priorkit.config import RunConfig
from priorkit.core import Progress, silent
from priorkit.data import Dataset
from priorkit.data import load as load_data
from priorkit.engine import Place
from priorkit.runs.folder import RunFolder
from priorkit.runs.model import Model
from priorkit.workflows.assemble import build_model

__all__ = ["Session", "open_data", "open_run", "use_threads"]


@dataclass
class Session:
    """Everything that a command needs of a finished run."""

    folder: RunFolder
    config: RunConfig
    data: Dataset
    model: Model


def open_run(path: Path, *, progress: Progress = silent) -> Session:
    """Read a finished run back."""
    folder = RunFolder.existing(path)
    config = RunConfig.read(folder.config)
    use_threads(config.engine.threads)
    data = open_data(config, progress)
    place = Place.find(config.engine.device)
    model = build_model(config, data.spec, place.device)
    model.backbone.load_state_dict(folder.load_weights("backbone"))
    model.prior.load_state_dict(folder.load_weights("prior"))
    for module in (model.backbone, model.prior):
        module.eval().requires_grad_(False)
    return Session(folder, config, data, model)


def open_data(config: RunConfig, progress: Progress) -> Dataset:
    """The data set that the configuration names."""
    data = config.data
    root = None if data.root is None else Path(data.root)
    return load_data(data.name, root=root, holdout=data.holdout, heldout=data.heldout, progress=progress)


def use_threads(threads: int | None) -> None:
    """Fix the number of threads; sums are split by thread, so that bits depend on it."""
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
