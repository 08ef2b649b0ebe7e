"""A run's backbone as another program's checkpoint."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from priorkit.core import Progress, no_progress
from priorkit.errors import UsageError
from priorkit.registry import installed
from priorkit.runs.manifest import listed, read_listed
from priorkit.runtime.atomic_files import write_bytes
from priorkit.workflows.session import open_run
from priorkit.workflows.sharing.import_run import ORIGIN

__all__ = ["export_run"]


def export_run(format_name: str, run: Path, out: Path, *, progress: Progress = no_progress) -> None:
    """Write the backbone of a finished run, imported or trained here, to the file `out`; the prior is not included."""
    writer = installed().load("format", format_name)()
    backbone = open_run(run, progress=progress).model.backbone
    try:
        content = writer.write(backbone, _kept(run, format_name))
    except UsageError as error:
        raise UsageError(f"{run}: {error}") from error
    write_bytes(out, content)


def _kept(run: Path, format_name: str) -> Mapping[str, Any]:
    """Return what the import of the run stored for this format; empty for a run that was not imported."""
    try:
        if not (run / ORIGIN).exists() and ORIGIN not in listed(run):
            return {}
        origin = json.loads(read_listed(run, ORIGIN))
        kept: dict[str, Any] = dict(origin["kept"]) if origin["format"] == format_name else {}
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{run / ORIGIN} is damaged; restore it, or import the checkpoint again.") from error
    return kept
