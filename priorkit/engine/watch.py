"""Views of a run that is still training. A view must not change the run, and cannot end it."""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

from priorkit.core import Phase, frozen
from priorkit.engine.process_context import ProcessContext
from priorkit.errors import InterruptedRunError, PriorkitError
from priorkit.runtime.memory import RUNNING_OUT

__all__ = ["Watch", "Watching"]

log = logging.getLogger(__name__)


class Watch:
    """Looks at a run while it trains, such as to draw pictures; the base class does nothing."""

    on = True
    """False after it has failed."""

    def due(self, phase: Phase, step: int) -> bool:
        """Return whether to look after these steps of the phase."""
        return False

    def look(self, phase: Phase, step: int) -> None:
        """Look at the frozen learners, on the main process. Global random numbers may be used: they are set back."""

    def ended(self, phase: Phase) -> None:
        """Look at the learners after a phase, in the same way."""


class Watching:
    """Lets the watches of a run look at it, on the main process."""

    def __init__(self, watches: Sequence[Watch], process: ProcessContext) -> None:
        self.watches, self.process = watches if process.is_main else (), process

    def look(self, phase: Phase, step: int) -> float:
        """Let those look for whom it is time; return the seconds that it took."""
        begun = time.monotonic()
        for watch in self.watches:
            if watch.on and watch.due(phase, step):
                self._undisturbed(phase, watch, partial(watch.look, phase, step))
        return time.monotonic() - begun

    def ended(self, phase: Phase) -> None:
        """Let all look after a phase."""
        for watch in self.watches:
            if watch.on:
                self._undisturbed(phase, watch, partial(watch.ended, phase))

    def _undisturbed(self, phase: Phase, watch: Watch, look: Callable[[], None]) -> None:
        """Call `look` with frozen learners, and set torch's global random state back. A watch that fails is turned off."""
        try:
            with self.process.preserve_rng_state(), frozen(phase.learners):
                look()
        except InterruptedRunError:
            raise
        except (PriorkitError, OSError, *RUNNING_OUT) as error:
            watch.on = False
            log.warning("%s failed and is left out from now on: %s", type(watch).__name__, error)
            self.process.empty_cache()
