"""What benchmarks measure with: seconds of pieces of work that take turns, and their floating-point operations."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch.utils.flop_counter import FlopCounterMode

Work = Callable[[], object]


class Clock:
    """Seconds of a piece of work."""

    def __init__(self, device: torch.device, kind: str) -> None:
        self.device = device
        self.now = time.process_time if kind == "processor" else time.perf_counter

    def once(self, work: Work) -> float:
        """Seconds of one go, the device's work included."""
        self._wait()
        begun = self.now()
        work()
        self._wait()
        return self.now() - begun

    def medians(self, works: Mapping[str, Work], rounds: int, *, warm: bool = False) -> dict[str, float]:
        """The median seconds of each; they take turns, and unless they are warm a first round does not count."""
        seconds: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(rounds if warm else rounds + 1):
            for name, work in works.items():
                seconds[name].append(self.once(work))
        return {name: statistics.median(values[-rounds:]) for name, values in seconds.items()}

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class NoModules:
    """Stands in for the counter's tracker of modules, whose hooks refuse gradients with respect to a chain's state."""

    parents = frozenset({"Global"})

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


def operations(work: Work) -> float:
    """Floating-point operations of matrix products and convolutions."""
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = NoModules()
    with counter:
        work()
    return float(counter.get_total_flops())
