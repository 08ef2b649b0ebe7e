"""Synchronisation of buffers that the shards of a batch update.

Every shard starts from the buffers before the step; the step ends with the mean of the shards' updates, on all
processes. So the result does not depend on which process computes a shard, nor on the order. Integers, such as step
counts, are updated as by a single shard.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from priorkit.engine.process_context import ProcessContext

__all__ = ["BufferSync"]


class BufferSync:
    """Call `begin` before the shards, `shard` before and `moved` after each of them, and `end` after the last. Does
    nothing with one shard and one process."""

    def __init__(self, process: ProcessContext, buffers: Iterable[Tensor]) -> None:
        self.process = process
        every = list(buffers)
        self.moving = [buffer for buffer in every if buffer.is_floating_point()]
        self.counting = [buffer for buffer in every if not buffer.is_floating_point()]
        self.shards = 0

    @torch.no_grad()
    def begin(self, shards: int) -> None:
        """Store the buffers before the `shards` shards of this process."""
        self.shards = 0 if shards == 1 and self.process.world == 1 else shards
        if self.shards:
            self.begun = [buffer.clone() for buffer in self.moving]
            self.counts = [buffer.clone() for buffer in self.counting]
            self.moves = [torch.zeros_like(buffer) for buffer in self.moving]

    @torch.no_grad()
    def shard(self) -> None:
        """Restore the buffers."""
        for live, kept in zip(self.moving + self.counting, self.begun + self.counts, strict=True) if self.shards > 1 else ():
            live.copy_(kept)

    @torch.no_grad()
    def moved(self) -> None:
        """Add the update of a shard."""
        if self.shards and self.moving:
            for move, live, kept in zip(self.moves, self.moving, self.begun, strict=True):
                move += torch.where(live == kept, 0, live - kept)  # also for the infinities of a mask: 0

    @torch.no_grad()
    def end(self) -> None:
        """Update the buffers by the mean of all shards' updates."""
        if self.shards and self.moving:
            torch._foreach_div_(self.moves, self.shards)
            self.process.all_reduce_mean(self.moves)
            for live, kept, move in zip(self.moving, self.begun, self.moves, strict=True):
                live.copy_(torch.where(move == 0, kept, kept + move))
