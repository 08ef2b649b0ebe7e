"""Logs a run's metrics as TensorBoard event files. Needs the extra `tensorboard`."""

from priorkit_tensorboard.logger import TensorBoardLogger

__all__ = ["TensorBoardLogger"]
