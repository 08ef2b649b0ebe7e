"""The training loop: it alone knows devices, ranks, precision, averaging, checkpoints and signals."""

from priorkit.engine.loop import Engine, RunState
from priorkit.engine.process_context import ProcessContext
from priorkit.engine.watch import Watch

__all__ = ["Engine", "ProcessContext", "RunState", "Watch"]
