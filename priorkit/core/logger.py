"""Where a run's figures go beside its own metrics.jsonl."""

from pathlib import Path

__all__ = ["Logger"]


class Logger:
    """Listens to a run's hooks (see `priorkit.registry.hookspecs`).  Built as `cls(folder)`, on the main process only."""

    folder: Path
    """The run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def close(self) -> None:
        """Let go of files.  Called once, when this process is done with the run, complete or not."""
