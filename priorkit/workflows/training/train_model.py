"""Training in a notebook: the same call returns the same model without training it again."""

import logging
import os
import re
import time
from pathlib import Path
from typing import Any

from priorkit.config import RunConfig, anchored, resolve
from priorkit.config.sections import Component
from priorkit.errors import UsageError
from priorkit.report.console import plain_console
from priorkit.report.progress import showing
from priorkit.runs.folder import RunFolder
from priorkit.runs.input_checks import checked_whole
from priorkit.runs.records import read_data, read_summary
from priorkit.runtime.atomic_files import sha256
from priorkit.runtime.user_path import given_path
from priorkit.workflows.run_model import RunModel
from priorkit.workflows.training.budget import plan_command
from priorkit.workflows.training.on_wrapped import named, on_wrapped, started_from
from priorkit.workflows.training.options import Options, as_overrides
from priorkit.workflows.training.train import from_run
from priorkit.workflows.training.train import train as train_run
from priorkit.wrapping import WrappedBackbone
from priorkit.zoo import given_run

__all__ = ["default_folder", "train_model"]

log = logging.getLogger(__name__)

DECISIVE = ("seed", "data", "backbone", "prior", "sampler", "trainer")
"""Sections of the configuration that distinguish runs."""
ARITHMETIC = ("precision", "accumulate", "shards")
"""Options of the engine that distinguish runs."""


def train_model(
    *,
    backbone: str | WrappedBackbone | None = None,
    prior: str | None = None,
    data: str | None = None,
    sampler: str | None = None,
    trainer: str | None = None,
    out: str | os.PathLike[str] | None = None,
    seed: int | None = None,
    options: Options | None = None,
    config: str | os.PathLike[str] | None = None,
    source: str | os.PathLike[str] | None = None,
    samples: int | None = None,
    minutes: float | None = None,
    quiet: bool = False,
) -> RunModel:
    """Train a backbone and a prior, as `priorkit train` does, and return the model.

    If the folder contains the same run, the run is read, or resumed if it was stopped.

    Args:
        backbone: The backbone's name, or a VAE of your own code, trained and wrapped by `priorkit.wrap`.
        prior: The prior's name.
        data: The data set: a name, zip:FILE, folder:DIR, stream:PLACE or toy:NAME.
        sampler: The sampler's name.
        trainer: The training scheme.
        out: Folder of the run; the default is runs/DATA-BACKBONE-PRIOR.
        seed: Random seed.
        options: Options as of `--set`, as a mapping or as texts.
        config: A YAML file with options.
        source: A run whose trained backbone is used.
        samples: Number of samples of the metrics; the default is 2,000.
        minutes: Time for the whole call; pilot runs choose the numbers of steps that fit into it, and the metrics are the
            quick ones, without classifiers, unless the options say otherwise. None: the steps of the options.
        quiet: Show no progress.

    Returns:
        The model of the finished run.

    Raises:
        UsageError: For wrong options, or if the folder contains another run.
    """
    started = time.monotonic()
    if samples is not None:
        checked_whole("samples", samples, 10)
    given = None if source is None else given_run("source", source)
    file = None if config is None else given_path("config", config)
    place = None if out is None else given_path("out", out)
    overrides, (name, wrapped) = as_overrides(options), named(backbone)
    flags: dict[str, Any] = {
        "backbone": name,
        "prior": prior,
        "data": data,
        "sampler": sampler,
        "trainer": trainer,
        "seed": seed,
    }
    flags |= {"minutes": minutes, "samples": samples}
    if wrapped is not None:
        overrides = on_wrapped(wrapped, overrides, file, flags, given)
    elif given is not None:
        overrides = from_run(given, overrides, backbone=name, data=data, file=file)
    settings = anchored(resolve(file, overrides, **flags))
    planned = settings.minutes is not None
    if planned and wrapped is not None:
        raise UsageError("minutes: pilot runs cannot build a wrapped backbone; set trainer.prior_steps in options instead.")
    if settings.engine.devices != 1 or settings.engine.nodes != 1:
        raise UsageError("priorkit.train: it uses only this process; for several devices use the command `priorkit train`.")
    folder = RunFolder(place or default_folder(settings))
    begun = folder.config.is_file()
    if begun:
        RunFolder.existing(folder.path)
        settings = _as_planned(settings, RunConfig.read(folder.config)) if planned else settings
        if (recorded := read_data(folder.path)) is not None:
            settings = settings.for_data(recorded.spec)
        _see_that_it_is_the_same(folder, settings, given, wrapped)
        settings = RunConfig.read(folder.config).model_copy(update={"evaluation": settings.evaluation})
    if not folder.summary.is_file():
        with showing(plain_console(stderr=True), quiet=quiet) as progress:
            opened = weights = None
            if planned and not begun:
                plan = plan_command(settings, folder.path, started, progress, source=given)
                settings, opened, weights = plan.config, plan.data, plan.backbone
            train_run(
                settings, folder.path, resume=begun, source=None if begun else given, wrapped=wrapped,
                data=opened, weights=weights, progress=progress,
            )  # fmt: skip
    model = RunModel.read(folder.path, wrapped=wrapped)
    if not planned:
        _tell_of_samples(folder, settings.evaluation.samples)
    return model


def _as_planned(settings: RunConfig, before: RunConfig) -> RunConfig:
    """Return the configuration with the numbers of steps, and the evaluation, that an earlier plan chose for the run."""
    _, trainer = settings.component("trainer")
    options = settings.trainer.options
    options |= {name: before.trainer.options[name] for name in trainer.planned.steps if name in before.trainer.options}
    planned = {"trainer": Component(name=settings.trainer.name, **options), "evaluation": before.evaluation}
    return settings.model_copy(update={**planned, "minutes": None})


def default_folder(config: RunConfig) -> Path:
    """Return runs/DATA-BACKBONE-PRIOR, without the folders and the suffix of a data file."""
    data = re.sub(r".*[:/]|\.zip$", "", config.data.name.rstrip("/"), flags=re.IGNORECASE)
    return Path("runs") / f"{data}-{config.backbone.name}-{config.prior.name}".replace(":", "-")


def _see_that_it_is_the_same(
    folder: RunFolder, settings: RunConfig, source: Path | None, wrapped: WrappedBackbone | None
) -> None:
    before, now = _decisive(anchored(RunConfig.read(folder.config))), _decisive(settings)
    different = [key for key in now if before[key] != now[key]]
    if wrapped is not None:
        different += [] if different or started_from(folder, wrapped) else ["the weights of the backbone"]
    elif not _same_backbone(folder, source):
        different.append("source")
    if different:
        raise UsageError(
            f"{folder.path}: contains another run, which differs in {', '.join(different)}; a run is "
            "never overwritten. Choose another folder with out=, or read the run with priorkit.load."
        )


def _tell_of_samples(folder: RunFolder, samples: int) -> None:
    """Warn if the metrics of a finished run have another number of samples than requested."""
    before = read_summary(folder.path).get("samples", samples)
    if before != samples:
        log.warning(
            "%s: its metrics were computed with %s samples, not %s; `priorkit evaluate %s --samples %s` "
            "computes them again",
            folder.path, before, samples, folder.path, samples,
        )  # fmt: skip


def _decisive(config: RunConfig) -> dict[str, Any]:
    tree = config.model_dump(mode="json")
    return {name: tree[name] for name in DECISIVE} | {f"engine.{name}": tree["engine"][name] for name in ARITHMETIC}


def _same_backbone(folder: RunFolder, source: Path | None) -> bool:
    """Return whether the run started from the trained backbone of `source`, or from none."""
    if source is None or not folder.initial_backbone.is_file():
        return source is None and not folder.initial_backbone.is_file()
    return RunFolder.existing(source).checksums().get("backbone") == sha256(folder.initial_backbone)
