"""Pictures of a run that is still training: after some seconds, every few minutes, and after each phase."""

import time

from matplotlib.figure import Figure
from torch import Tensor

from priorkit.core import Phase
from priorkit.data import Dataset
from priorkit.engine import Watch
from priorkit.model import Model
from priorkit.report.pictures import panels, write_figure
from priorkit.runs.folder import RunFolder
from priorkit.workflows.sampling.gallery import first_data

__all__ = ["LivePictures"]

FIRST, SECOND, EVERY = 5.0, 60.0, 180.0
"""Seconds from the first step to the first picture, which shows whether the images were read as they are, from it to the
second, and between later ones."""
SHOWN, POINTS = 64, 2_000
"""Number of images, and of points."""


class LivePictures(Watch):
    """Writes samples/overview.png and samples/stages.png, which the pictures of the finished run replace."""

    def __init__(self, model: Model, data: Dataset, folder: RunFolder) -> None:
        self.model, self.data, self.folder = model, data, folder
        self._next: float | None = None
        self._looked = False
        self._stages: dict[str, Tensor] = {}

    def due(self, phase: Phase, step: int) -> bool:
        """Return whether it is time for a picture of the backbone; priors are drawn after their stages."""
        if self._next is None:
            self._next = time.monotonic() + FIRST
        return phase.learner is self.model.backbone and time.monotonic() >= self._next

    def look(self, phase: Phase, step: int) -> None:
        """Draw data, reconstructions and samples of the Gaussian prior."""
        self._overview(f"{phase.name}, step {step:,} of {phase.steps:,}")
        self._next = time.monotonic() + (EVERY if self._looked else SECOND)
        self._looked = True

    def ended(self, phase: Phase) -> None:
        """Draw the same after the backbone's phase, and samples of the prior after each of its stages."""
        if phase.learner is self.model.backbone:
            self._overview(f"after {phase.name}")
        elif stages := self.model.prior.trained_stages:
            if not self._stages:
                self._stages["Gaussian prior"] = self._decoded(0)
            self._stages[f"after stage {stages}"] = self._decoded(stages)
            self._write("stages", panels(self._stages))

    @property
    def _shown(self) -> int:
        return SHOWN if self.data.spec.is_image else POINTS

    def _overview(self, told: str) -> None:
        title, x = first_data(self.data, self._shown)
        parts = {title: x}
        if self.data.spec.is_image:
            parts[f"reconstructions, {told}"] = self.model.decode(self.model.infer(x).u)
        self._write("overview", panels({**parts, "Gaussian prior": self._decoded(0)}))

    def _decoded(self, stages: int) -> Tensor:
        return self.model.decode(self.model.sample_latents(self._shown, stages=stages))

    def _write(self, name: str, figure: Figure) -> None:
        self.folder.samples.mkdir(parents=True, exist_ok=True)
        write_figure(figure, self.folder.samples / f"{name}.png")
