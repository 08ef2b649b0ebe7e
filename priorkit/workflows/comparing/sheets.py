"""Sheets of samples of several runs with the same seed."""

import logging
from collections.abc import Mapping

import torch
from torch import Tensor

from priorkit.core import Progress, no_progress
from priorkit.errors import PriorkitError
from priorkit.report.inline import image_uri, png_uri
from priorkit.report.page import Picture
from priorkit.report.pictures import panels, sheet
from priorkit.workflows.comparing.run_record import RunRecord
from priorkit.workflows.session import Session, open_run

__all__ = ["SEED", "SHOWN", "sheets"]

log = logging.getLogger(__name__)

SEED = 0
SHOWN = 64
POINTS = 2_000


def sheets(runs: Mapping[str, RunRecord], *, progress: Progress = no_progress) -> list[Picture]:
    """Return pictures of the data, the Gaussian prior (if no run has it), then samples of each run, by the label of its row.

    A run whose model cannot be opened any more (a missing plugin) has no sheet.
    """
    pictures: list[Picture] = []
    for label, run in progress(runs.items(), len(runs), "samples"):
        try:
            session = open_run(run.folder.path, wrapped=run.wrapped)
            if not pictures:
                pictures += _references(session, gaussian=all(r.config.prior.name != "gaussian" for r in runs.values()))
            pictures.append(_picture(label, _samples(session, None), run.name))
        except PriorkitError as error:
            log.warning("%s: no samples: %s", run.name, error)
            pictures.append(_picture(label, torch.zeros(1, 1, 8, 8), f"no samples: {error}"))
    return pictures


def _references(session: Session, *, gaussian: bool) -> list[Picture]:
    found = []
    try:
        data = session.data.heldout if len(session.data.heldout) else session.data.train
        x = data.batch(torch.arange(min(_count(session), len(data))))
        found.append(_picture("data", x, "held out" if len(session.data.heldout) else "training"))
    except PriorkitError:
        pass  # the data are not on this machine; the samples are shown without them
    if gaussian:
        found.append(_picture("Gaussian", _samples(session, 0), "on the first run's backbone"))
    return found


def _samples(session: Session, stages: int | None) -> Tensor:
    u = session.model.sample_latents(_count(session), seed=SEED, stages=stages)
    return session.model.decode(u, seed=SEED)


def _count(session: Session) -> int:
    return SHOWN if session.model.spec.is_image else POINTS


def _picture(title: str, data: Tensor, note: str) -> Picture:
    uri = image_uri(sheet(data)) if data.ndim == 4 else png_uri(panels({"": data}))
    return Picture(title, uri, note)
