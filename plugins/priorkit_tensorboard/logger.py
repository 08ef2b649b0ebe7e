"""The hooks of a run, written with torch's SummaryWriter."""

from pathlib import Path
from typing import TYPE_CHECKING

from priorkit.errors import UsageError
from priorkit.plugins import Logger, hookimpl

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["TensorBoardLogger"]


class TensorBoardLogger(Logger):
    """Writes every logged figure to the folder `tensorboard` of the run, as PHASE/FIGURE over the phase's steps."""

    def __init__(self, folder: Path) -> None:
        """Raises UsageError where TensorBoard is not installed."""
        super().__init__(folder)
        self.writer = open_writer(folder / "tensorboard")

    @hookimpl
    def priorkit_log(self, phase: str, step: int, figures: dict[str, float]) -> None:
        """One scalar a figure."""
        for name, value in figures.items():
            self.writer.add_scalar(f"{phase}/{name}", value, step)

    def close(self) -> None:
        """Write what is still held back."""
        self.writer.close()


def open_writer(folder: Path) -> "SummaryWriter":
    """A writer of event files, or a UsageError that says what to install."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError(
            "the tensorboard logger needs TensorBoard: pip install priorkit[tensorboard], or leave it out of engine.loggers"
        ) from error
    return SummaryWriter(str(folder))
