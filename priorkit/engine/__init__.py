"""The training loop: it alone knows devices, ranks, precision, averaging, checkpoints and signals."""

from priorkit.engine.loop import Engine, RunState
from priorkit.engine.place import Place

__all__ = ["Engine", "Place", "RunState"]
