"""The parts of a step's batch: each is computed with random numbers of its own, by whichever process.

So one process that computes all parts does what several do together, the order of sums apart.
"""

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
"""Examples of a micro-batch below which none is cut: one alone has no moments, and no other to be compared with."""


@dataclass
class Shard:
    """One part of a step's batch."""

    batches: Sequence[Any]
    """Micro-batches, computed one after the other with the same random streams."""
    step: Step
    random: list[Tensor] = field(default_factory=list)
    """Torch's global state where this part left it, from `ProcessContext.random_state`; of an only part it is not asked."""


class Shards:
    """Cuts the batches of a run."""

    def __init__(self, process: ProcessContext, streams: Streams, settings: EngineSettings) -> None:
        """Raises UsageError where the processes cannot have equally many parts."""
        self.process = process
        self.streams = streams
        self.automatic = settings.accumulate == "auto"
        self._first = 1 if settings.accumulate == "auto" else settings.accumulate
        self.pieces = self._first
        """Micro-batches of a part."""
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
        """A phase begins with as few micro-batches as the options say, whatever the one before needed."""
        self.pieces = self._first

    def check(self, phase: Phase) -> None:
        """Raise UsageError where the phase's batches are too small."""
        size = min(phase.batch_size, phase.population())
        if size < self.count != 1:
            raise UsageError(
                f"{phase.name}: a batch of {size} cannot be split into {self.count} shards. Use a larger "
                "batch, fewer processes or a smaller engine.shards."
            )

    def refine(self, phase: Phase, folder: Path) -> None:
        """Twice as many micro-batches from now on, since memory did not suffice for the run in `folder`.

        Raises UsageError where that was not asked for, or they would have fewer than MIN_EXAMPLES examples.
        """
        rows = max(1, min(phase.batch_size, phase.population()) // self.count)
        if not self.automatic:
            wanted = "auto or a number" if self.process.world == 1 else f"a number, as {2 * self.pieces}"
            raise UsageError(
                f"{phase.name}: a training step does not fit into the memory of {self.process.device}. Use "
                f"micro-batches: engine.accumulate: {wanted}, with --set for a new run, in "
                f"{folder / 'config.yaml'} to resume this one. Or use a smaller batch."
            )
        if rows < 2 * self.pieces * MIN_EXAMPLES:
            raise UsageError(
                f"{phase.name}: a training step does not fit into the memory of {self.process.device}, even "
                f"in the smallest micro-batches (here of {rows // self.pieces}). Use smaller networks or "
                "--precision bf16; for an NVAE, backbone.recompute_cells=true."
            )
        self.pieces *= 2

    def of(self, phase: Phase, index: int) -> list[Shard]:
        """This process's parts of the batch of step `index`; torch's global state is that of the last one."""
        indices, share = self._indices(phase, index), self.process.shard(self.count)
        parts = []
        for number in share:
            self.seed(f"{phase.name}.modules", index, number)
            step = self._step(phase, index, number, f"{phase.name}.batch")
            # As many micro-batches for every part, or batch norms that look at all processes would wait for ever.
            pieces = max(1, min(self.pieces, len(indices) // self.count))
            batches = [phase.batch(part, step) for part in indices[number :: self.count].tensor_split(pieces)]
            random = self.process.random_state() if len(share) > 1 else []
            parts.append(Shard(batches, self._step(phase, index, number, phase.name), random))
        return parts

    def seed(self, stream: str, *numbers: int) -> None:
        """Seed torch's global state."""
        self.process.seed(self.streams.generator(stream, *numbers).initial_seed())

    def _step(self, phase: Phase, index: int, number: int, stream: str) -> Step:
        generator = self.streams.generator(stream, index, number, device=self.process.device)
        return Step(index, phase.steps, generator, number, self.count)

    def _indices(self, phase: Phase, index: int) -> Tensor:
        """The examples of a step.  Their order is a permutation an epoch, a function of the epoch's number alone."""
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
    """Have batch norms that would look at all processes look at the batch before them, which depends on no other."""
    for module in learner.modules():
        if getattr(module, "synchronised", None) is True:
            setattr(module, "synchronised", False)  # noqa: B010
