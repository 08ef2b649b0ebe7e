"""Logs a run's metrics at Weights & Biases. Needs the extra `wandb`."""

from priorkit_wandb.logger import WandbLogger

__all__ = ["WandbLogger"]
