"""Makes a run from another program's checkpoint.

It contains what `priorkit train --from` would have written, with a Gaussian prior and no training, so that every other
command treats it as a trained run. `origin.json` records the source and what an export needs.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from priorkit.config import RunConfig, anchored
from priorkit.core import Backbone, CheckpointFormat, Imported, Progress, Streams, no_progress
from priorkit.data import Dataset
from priorkit.data import load as load_data
from priorkit.data.declared import opens_by_name
from priorkit.engine import ProcessContext
from priorkit.errors import UsageError
from priorkit.model import Model
from priorkit.registry import installed
from priorkit.runs.folder import RunFolder
from priorkit.runs.input_checks import checked_scale
from priorkit.runs.records import DATA, write_data
from priorkit.runtime.atomic_files import discard, sha256, write_bytes, write_json, write_tensors, writing
from priorkit.workflows.assemble import build_model

__all__ = ["ORIGIN", "Readjustment", "import_run"]

ORIGIN = "origin.json"


@dataclass(frozen=True)
class Readjustment:
    """How batch-norm statistics are adjusted to samples of the Gaussian prior."""

    passes: int = 500
    temperature: float = 1.0
    batch: int = 16


def import_run(
    format_name: str,
    checkpoint: Path,
    out: Path,
    *,
    data: str | None = None,
    root: Path | None = None,
    readjust: Readjustment | None = None,
    progress: Progress = no_progress,
) -> list[str]:
    """Write the run to the folder `out`, which must be empty; return notes for the user, one sentence each.

    `data` names the data on which the backbone was trained; without it the file's entry is used and no data are opened.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: is not an empty folder, and a run is never overwritten. Choose another folder with --out.")
    if readjust is not None:
        checked_scale("temperature", readjust.temperature)
    reader = installed().load("format", format_name)()
    dataset = None if data is None else load_data(data, root=root, progress=progress)
    found = reader.read(checkpoint, None if dataset is None else dataset.spec)
    config = anchored(_config(found, root))
    model = build_model(config, found.spec, ProcessContext.find(config.engine.device).device)
    _load(model.backbone, found, checkpoint)
    if readjust is not None:
        _readjust(reader, model, readjust, progress)
    told = {"format": format_name, "file": checkpoint.name, "bytes": checkpoint.stat().st_size, "sha256": sha256(checkpoint)}
    told |= {"kept": found.kept, "readjusted": None if readjust is None else asdict(readjust)}
    _publish(out, lambda part: _write(config, model, found, dataset, part, out, told))
    return found.notes if dataset is not None else [*found.notes, _about_data(found)]


def _config(found: Imported, root: Path | None) -> RunConfig:
    return RunConfig.build(
        {
            "data": {"name": found.spec.name, "root": None if root is None else str(root)},
            "backbone": {"name": found.backbone, **found.options},
            "prior": {"name": "gaussian"},
            "trainer": {"name": "two-phase", "backbone_steps": 0},
        }
    )


def _load(backbone: Backbone, found: Imported, checkpoint: Path) -> None:
    try:
        backbone.load_state_dict(found.state)
    except RuntimeError as error:
        raise UsageError(f"{checkpoint}: its weights do not fit the backbone {found.backbone}: {error}") from error
    backbone.eval().requires_grad_(False)


def _readjust(reader: CheckpointFormat, model: Model, wanted: Readjustment, progress: Progress) -> None:
    backbone, streams = model.backbone, Streams(0)

    def draws() -> Iterator[Tensor]:
        for index in progress(range(wanted.passes), wanted.passes, "readjusting batch norms"):
            generator = streams.generator("readjust", index, device=backbone.device)
            yield torch.randn(wanted.batch, backbone.layout.dim, generator=generator, device=backbone.device)

    reader.readjust(backbone, draws(), temperature=wanted.temperature)


def _publish(out: Path, write: Callable[[RunFolder], None]) -> None:
    """Move what `write` has written elsewhere into place, so that an interrupted import leaves no incomplete run."""
    out = out.absolute()
    part = RunFolder(out.with_name(f".{out.name}.part"))
    discard(part.path)
    try:
        write(part)
        with writing(out):
            part.path.replace(out)
    except (OSError, UsageError):
        discard(part.path)
        raise


def _write(
    config: RunConfig, model: Model, found: Imported, dataset: Dataset | None, folder: RunFolder, out: Path,
    told: Mapping[str, Any],
) -> None:  # fmt: skip
    """Write the run for `out`, with the origin `told`, to another folder."""
    state = dict(model.backbone.state_dict())
    backbone = folder.save_weights("backbone", state)
    folder.save_weights("prior", dict(model.prior.state_dict()), {"backbone": backbone})
    # The start of `train --resume`: without it training would start with random weights.
    write_tensors(folder.initial_backbone, state)
    if dataset is not None:
        write_data(folder.path, dataset)
    else:
        write_json(folder.path / DATA, {**asdict(found.spec), "content": "", "protocol": "as the imported file tells"})
    write_bytes(folder.metrics, b"")
    write_json(folder.summary, _summary(config, out))
    write_json(folder.path / ORIGIN, told)
    config.write(folder.config)
    folder.close()


def _summary(config: RunConfig, out: Path) -> dict[str, Any]:
    """Return the summary of a run without training and without metrics."""
    return {
        "run": str(out),
        "backbone": config.backbone.name,
        "prior": config.prior.name,
        "data": config.data.name,
        "seed": config.seed,
        "metrics": {},
        "phases": [],
        "cost": {"seconds": {}, "threads": torch.get_num_threads(), "skipped_steps": 0},
    }


def _about_data(found: Imported) -> str:
    name = found.spec.name
    if opens_by_name(name):
        return f"the data set is {name}, as given in the file; it was not opened. Use --data for another data set."
    return (
        f"the file gives the data set {name}, which is not available by name: the run can be sampled, "
        "but to train or evaluate a prior, import it again with --data zip:FILE, folder:DIR or "
        "stream:PLACE."
    )
