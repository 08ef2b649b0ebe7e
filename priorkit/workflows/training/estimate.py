"""The estimate of a long run's time, after its first training steps."""

import time
from collections.abc import Callable

from priorkit.config import RunConfig
from priorkit.core import Phase, Progress
from priorkit.data import Dataset
from priorkit.engine import Watch
from priorkit.workflows.measuring.evaluate import Evaluation
from priorkit.workflows.training.budget import Plan, plan
from priorkit.workflows.training.pilot import Weights

__all__ = ["FirstEstimate", "OnEstimate"]

OnEstimate = Callable[[Plan], None]
"""Receives what the run will take."""

STEPS = 20
"""Steps of the first phase before the estimate."""
LONG = 180.0
"""Seconds that the rest of that phase must take, so that pilot runs are worth their time."""


class FirstEstimate(Watch):
    """Measures pilot runs if the first phase turns out to be long; `backbone` then reads the trained one, if any."""

    def __init__(
        self,
        config: RunConfig,
        data: Dataset,
        evaluation: Evaluation,
        tell: OnEstimate,
        progress: Progress,
        backbone: Callable[[], Weights] = lambda: None,
    ) -> None:
        self.config, self.data, self.evaluation, self.tell, self.progress = config, data, evaluation, tell, progress
        self.backbone = backbone
        self.on = bool(config.component("trainer")[1].planned.steps)
        self._begun: tuple[str, int, float] | None = None

    def due(self, phase: Phase, step: int) -> bool:
        """Return whether STEPS steps of the first phase have been taken, and many are left."""
        if self._begun is None:
            self._begun = (phase.name, step, time.monotonic())
        name, first, begun = self._begun
        if phase.name != name or step != first + STEPS:
            return False
        return (time.monotonic() - begun) / STEPS * (phase.steps - step) > LONG

    def look(self, phase: Phase, step: int) -> None:
        """Tell what the run will take."""
        self.tell(plan(self.config, self.data, self.evaluation, self.progress, self.backbone()))
