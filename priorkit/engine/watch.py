"""Views of a run that is still training."""

from priorkit.core import Phase

__all__ = ["Watch"]


class Watch:
    """Looks at a run while it trains, such as to draw pictures; the base class does nothing."""

    def due(self, phase: Phase, step: int) -> bool:
        """Return whether to look after these steps of the phase."""
        return False

    def look(self, phase: Phase, step: int) -> None:
        """Look at the frozen learners, on the main process. Global random numbers may be used: they are set back."""

    def ended(self, phase: Phase) -> None:
        """Look at the learners after a phase, in the same way."""
