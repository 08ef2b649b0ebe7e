"""A logger that uses TensorBoard's record writer.

It does not use SummaryWriter: its thread and its close() may do the first flush at the same time, and the later one
then overwrites the file. One record per call needs no thread.
"""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from priorkit.core import Logger
from priorkit.errors import UsageError
from priorkit.registry import hookimpl

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event

__all__ = ["TensorBoardLogger"]


class TensorBoardLogger(Logger):
    """Writes every logged metric to the folder `tensorboard` of the run, as PHASE/METRIC over the phase's steps."""

    def __init__(self, folder: Path) -> None:
        """Raises UsageError if TensorBoard is not installed."""
        super().__init__(folder)
        try:
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError as error:
            raise UsageError(
                "the tensorboard logger needs TensorBoard: pip install priorkit[tensorboard], "
                "or leave it out of engine.loggers"
            ) from error
        events = folder / "tensorboard"
        events.mkdir(parents=True, exist_ok=True)
        # A resumed run adds a file; TensorBoard reads a folder's files in the order of their names.
        self.records = RecordWriter((events / f"events.out.tfevents.{time.time_ns()}.{os.getpid()}").open("wb"))
        self.records.write(event(file_version="brain.Event:2").SerializeToString())

    @hookimpl
    def priorkit_log(self, phase: str, step: int, figures: dict[str, float]) -> None:
        """Log one scalar per metric."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=f"{phase}/{name}", simple_value=value) for name, value in figures.items()]
        self.records.write(event(step=step, summary=Summary(value=values)).SerializeToString())
        self.records.flush()

    def close(self) -> None:
        """Close the file."""
        self.records.close()


def event(**fields: object) -> "Event":
    """Return an event with the current time in seconds."""
    from tensorboard.compat.proto.event_pb2 import Event

    return Event(wall_time=time.time(), **fields)
