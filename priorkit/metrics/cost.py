"""The cost of a prior: memory in training, seconds and network calls in sampling, parameters."""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from priorkit.core import Draw

__all__ = ["PeakMemory", "SamplingCost", "parameter_count", "sampling_cost"]

EVERY = 0.02
"""Seconds between two readings of the process's memory."""
LONG_ENOUGH = 0.5
"""Seconds of sampling that are long enough for a speed."""
RESIDENT = Path("/proc/self/statm")


class PeakMemory:
    """Measures the peak memory of a block of code, in addition to what was used before it.

    On CUDA the allocator's peak, exactly; on the CPU the growth of the process's resident memory, read every 20 ms, which is
    too low if the process has freed memory before. `bytes` is None if neither can be measured.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.bytes: int | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device)
        elif (held := _resident()) is not None:
            self._before = self._highest = held
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self.device) - self._before
        elif self._thread.is_alive():
            self._stop.set()
            self._thread.join()
            self.bytes = self._highest - self._before

    def _watch(self) -> None:
        going_on = True
        while going_on:
            going_on = not self._stop.wait(EVERY)
            self._highest = max(self._highest, _resident() or 0)


def _resident() -> int | None:
    try:
        return int(RESIDENT.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


@dataclass(frozen=True)
class SamplingCost:
    """The cost of a sample."""

    samples_per_second: float
    """Samples drawn and decoded per second, in batches of the measured size."""
    calls: int
    """Evaluations of the log density (with or without gradient) by the chains of one sample; 0 for exact samples."""

    def as_dict(self) -> dict[str, Any]:
        """Return the two fields, as in a run's summary."""
        return {"samples_per_second": self.samples_per_second, "calls_per_sample": self.calls}


def sampling_cost(draw: Callable[[], Draw], decode: Callable[[Tensor], Tensor]) -> SamplingCost:
    """Time sampling and decoding; the first batch counts only if it takes more than half a second."""
    seconds, drawn = _timed(draw, decode)
    if seconds < LONG_ENOUGH:
        seconds, count = 0.0, 0
        while seconds < LONG_ENOUGH:
            more, drawn = _timed(draw, decode)
            seconds, count = seconds + more, count + len(drawn.u)
    else:
        count = len(drawn.u)
    return SamplingCost(count / seconds, sum(chain.calls for chain in drawn.chains))


def _timed(draw: Callable[[], Draw], decode: Callable[[Tensor], Tensor]) -> tuple[float, Draw]:
    begun = time.perf_counter()
    drawn = draw()
    decode(drawn.u).cpu()  # waits for the device
    return time.perf_counter() - begun, drawn


def parameter_count(module: nn.Module) -> int:
    """Return the total number of entries of all parameters."""
    return sum(parameter.numel() for parameter in module.parameters())
