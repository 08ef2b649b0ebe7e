"""A run that is stopped half-way, as by Ctrl-C."""

import os
import signal
from collections.abc import Callable

__all__ = ["stop_at"]


def stop_at(phase: str | None, step: int | None) -> Callable[[str, int, dict[str, float]], None]:
    """An `on_log` that asks for a stop when the losses of that step are logged; of no step, one that does nothing."""

    def on_log(at: str, number: int, figures: dict[str, float]) -> None:
        # The step's validation is logged too; a second signal would end the process at once.
        if (at, number) == (phase, step) and "heldout_validation_loss" not in figures:
            os.kill(os.getpid(), signal.SIGINT)

    return on_log
