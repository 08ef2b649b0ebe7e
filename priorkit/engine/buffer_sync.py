"""Buffers that the parts of a batch move, brought together again.

Every part begins where the step found the buffers; they end where the mean of the parts' moves is_main, on all processes.
So it makes no difference which process computes a part, nor after which other one.  Integers, such as counts of steps,
move as one part moves them.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from priorkit.engine.process_context import ProcessContext

__all__ = ["BufferSync"]


class BufferSync:
    """Call `begin` before the parts, `part` before and `moved` after each one, and `end` after the last.

    Does nothing where there is one part and one process.
    """

    def __init__(self, process: ProcessContext, buffers: Iterable[Tensor]) -> None:
        self.process = process
        every = list(buffers)
        self.moving = [buffer for buffer in every if buffer.is_floating_point()]
        self.counting = [buffer for buffer in every if not buffer.is_floating_point()]
        self.parts = 0

    @torch.no_grad()
    def begin(self, parts: int) -> None:
        """Remember where the buffers stand before this process's `parts` parts."""
        self.parts = 0 if parts == 1 and self.process.world == 1 else parts
        if self.parts:
            self.begun = [buffer.clone() for buffer in self.moving]
            self.counts = [buffer.clone() for buffer in self.counting]
            self.moves = [torch.zeros_like(buffer) for buffer in self.moving]

    @torch.no_grad()
    def part(self) -> None:
        """Put the buffers back."""
        for live, kept in zip(self.moving + self.counting, self.begun + self.counts, strict=True) if self.parts > 1 else ():
            live.copy_(kept)

    @torch.no_grad()
    def moved(self) -> None:
        """Take in what a part did."""
        if self.parts and self.moving:
            for move, live, kept in zip(self.moves, self.moving, self.begun, strict=True):
                move += torch.where(live == kept, 0, live - kept)  # of a mask's infinities too: none

    @torch.no_grad()
    def end(self) -> None:
        """Move the buffers by the mean of all parts' moves."""
        if self.parts and self.moving:
            torch._foreach_div_(self.moves, self.parts)
            self.process.all_reduce_mean(self.moves)
            for live, kept, move in zip(self.moving, self.begun, self.moves, strict=True):
                live.copy_(torch.where(move == 0, kept, kept + move))
