"""The shards of a step's batch. Each shard has its own random numbers, whichever process computes it, so one process
gives the same result as several, up to the order of sums."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from priorkit.config import EngineSettings
from priorkit.core import Phase, Step, Streams
from priorkit.engine.process_context import ProcessContext
from priorkit.errors import UsageError

__all__ = ["Shard", "Shards", "separate_moments"]

MIN_EXAMPLES = 2
"""Smallest number of examples in a micro-batch: a single example has no moments."""


@dataclass
class Shard:
    """One shard of a step's batch."""

    batches: Sequence[Any]
    """Micro-batches, computed one after another with the same random streams."""
    step: Step
    random: list[Tensor] = field(default_factory=list)
    """Torch's global random state after this shard, from `ProcessContext.random_state`; empty if there is only one shard."""


class Shards:
    """Splits the batches of a run into shards and micro-batches."""

    def __init__(self, process: ProcessContext, streams: Streams, settings: EngineSettings) -> None:
        """Raises UsageError if the shards cannot be divided evenly among the processes."""
        self.process = process
        self.streams = streams
        self.automatic = settings.accumulate == "auto"
        self._first = 1 if settings.accumulate == "auto" else settings.accumulate
        self.micro_batches = self._first
        """Number of micro-batches per shard."""
        self.count = settings.shards or max(process.world, settings.devices * settings.nodes)
        if self.count % process.world:
            raise UsageError(
                f"engine.shards: {self.count} shards cannot be divided evenly among {process.world} "
                f"processes. Use a number of processes (--devices) that divides {self.count}, or start a run "
                "with another engine.shards."
            )
        if self.automatic and process.world > 1:
            raise UsageError(
                f"engine.accumulate: auto works with one process only, and there are {process.world}. Use "
                "--set engine.accumulate=N (for a run that is resumed, in its config.yaml)."
            )

    def begin(self) -> None:
        """Start a phase with the number of micro-batches in the options, whatever the previous phase needed."""
        self.micro_batches = self._first

    def check(self, phase: Phase) -> None:
        """Raise UsageError if the batches of the phase are too small."""
        size = min(phase.batch_size, phase.population())
        if size < self.count != 1:
            raise UsageError(
                f"{phase.name}: a batch of {size} cannot be split into {self.count} shards. Use a larger "
                "batch, fewer processes or a smaller engine.shards."
            )

    def refine(self, phase: Phase, folder: Path) -> None:
        """Double the number of micro-batches, since the run in `folder` ran out of memory. Raises UsageError if
        `engine.accumulate` is not auto, or if micro-batches would have fewer than MIN_EXAMPLES examples."""
        rows = max(1, min(phase.batch_size, phase.population()) // self.count)
        if not self.automatic:
            wanted = "auto or a number" if self.process.world == 1 else f"a number, as {2 * self.micro_batches}"
            raise UsageError(
                f"{phase.name}: a training step does not fit into the memory of {self.process.device}. Use "
                f"micro-batches: engine.accumulate: {wanted}, with --set for a new run, in "
                f"{folder / 'config.yaml'} to resume this one. Or use a smaller batch."
            )
        if rows < 2 * self.micro_batches * MIN_EXAMPLES:
            raise UsageError(
                f"{phase.name}: a training step does not fit into the memory of {self.process.device}, even "
                f"in the smallest micro-batches (here of {rows // self.micro_batches}). Use smaller networks or "
                "--precision bf16; for an NVAE, backbone.recompute_cells=true."
            )
        self.micro_batches *= 2

    def of(self, phase: Phase, index: int) -> list[Shard]:
        """Return this process's shards of the batch of step `index`; torch's global random state is that of the last one."""
        indices, mine = self._indices(phase, index), self.process.shard(self.count)
        shards = []
        for number in mine:
            self.seed(f"{phase.name}.modules", index, number)
            step = self._step(phase, index, number, f"{phase.name}.batch")
            # The same number of micro-batches for every shard: otherwise synchronised batch norms would wait forever.
            count = max(1, min(self.micro_batches, len(indices) // self.count))
            batches = [phase.batch(rows, step) for rows in indices[number :: self.count].tensor_split(count)]
            random = self.process.random_state() if len(mine) > 1 else []
            shards.append(Shard(batches, self._step(phase, index, number, phase.name), random))
        return shards

    def seed(self, stream: str, *numbers: int) -> None:
        """Seed torch's global random state."""
        self.process.seed(self.streams.generator(stream, *numbers).initial_seed())

    def _step(self, phase: Phase, index: int, number: int, stream: str) -> Step:
        generator = self.streams.generator(stream, index, number, device=self.process.device)
        return Step(index, phase.steps, generator, number, self.count)

    def _indices(self, phase: Phase, index: int) -> Tensor:
        """Return the indices of a step's examples. Their order is one permutation per epoch, which depends only on the
        epoch's number."""
        count = phase.population()
        per_epoch = max(1, count // phase.batch_size)
        epoch, position = divmod(index, per_epoch)
        order = self._order(phase.name, epoch, count)
        return order[position * phase.batch_size : (position + 1) * phase.batch_size]

    def _order(self, name: str, epoch: int, count: int) -> Tensor:
        key = (name, epoch, count)
        if getattr(self, "_order_key", None) != key:
            generator = self.streams.generator(f"{name}.order", epoch)
            self._order_key, self._order_value = key, torch.randperm(count, generator=generator)
        return self._order_value


def separate_moments(learner: nn.Module) -> None:
    """Make synchronised batch norms use only the batch of their own process."""
    for module in learner.modules():
        if getattr(module, "synchronised", None) is True:
            setattr(module, "synchronised", False)  # noqa: B010
