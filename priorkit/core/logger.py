"""Loggers: destinations for a run's metrics in addition to metrics.jsonl."""

from pathlib import Path

__all__ = ["Logger"]


class Logger:
    """Implements hooks of a run (see `priorkit.registry.hookspecs`). Constructed as `cls(folder)`, in the main process
    only."""

    folder: Path
    """The run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def close(self) -> None:
        """Close files. Called once, at the end of the run in this process, complete or not."""
