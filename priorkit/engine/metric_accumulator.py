"""The metrics since the last logged step: summed in each process, averaged over the processes when they are read."""

from collections.abc import Mapping

from torch import Tensor

from priorkit.engine.process_context import ProcessContext

__all__ = ["MetricAccumulator", "named"]


class MetricAccumulator:
    """Sums of the metrics of one process. Methods that communicate must be called on all processes."""

    def __init__(self, process: ProcessContext) -> None:
        self.process = process
        self.clear()

    def clear(self) -> None:
        """Reset the sums."""
        self.sums: dict[str, Tensor] = {}
        self.steps = 0

    def add(self, figures: Mapping[str, Tensor]) -> None:
        """Add the metrics of a step."""
        self.steps += 1
        for key, value in figures.items():
            self.sums[key] = self.sums[key] + value if key in self.sums else value

    def means(self) -> dict[str, float]:
        """Means over steps and processes."""
        return named({key: rows.mean(0) / self.steps for key, rows in self.rows().items()})

    def rows(self) -> dict[str, Tensor]:
        """Return the sums of every process, one row each; sorted, since all processes must communicate in the same order."""
        return {key: self.process.all_gather(value) for key, value in sorted(self.sums.items())}

    def load(self, rows: Mapping[str, Tensor], steps: int) -> None:
        """Load this process's row of a checkpoint, or the mean of all rows if the number of processes differs."""
        rank, world = self.process.rank, self.process.world
        own = {key: value[rank] if len(value) == world else value.mean(0) for key, value in rows.items()}
        self.sums = {key: value.to(self.process.device) for key, value in own.items()}
        self.steps = steps


def named(figures: Mapping[str, Tensor]) -> dict[str, float]:
    """Return scalars as they are, and vectors with one entry per layer."""
    flat: dict[str, float] = {}
    for key, value in figures.items():
        if value.ndim == 0:
            flat[key] = value.item()
        else:
            flat.update({f"{key}.{i}": entry for i, entry in enumerate(value.tolist())})
    return flat
