"""Where a process stands: its device, its rank, and what it agrees on with the others.

Launched as one of several the environment names the ranks; launched alone the world is one process and every agreement is
free.  Gradients are averaged explicitly, in flat buckets of one dtype, a missing gradient counting as zero: wrappers
give wrong gradients for two forwards followed by two backwards and for a backward through an energy's gradient.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from priorkit.errors import UsageError

__all__ = ["Place"]


@dataclass(frozen=True)
class Place:
    """One process among `world` ones."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @classmethod
    def find(cls, device: str = "auto") -> "Place":
        """Read the launcher's environment."""
        rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda" and not torch.cuda.is_available():
            raise UsageError("engine.device: 'cuda' was asked for but torch sees no GPU. Use --set engine.device=cpu.")
        place = torch.device(device, int(os.environ.get("LOCAL_RANK", "0"))) if device == "cuda" else torch.device(device)
        if device == "cuda":
            torch.cuda.set_device(place)
        return cls(place, rank, world)

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Be one of the process group, if there are several processes, for as long as the block runs."""
        if self.world == 1:
            yield
            return
        dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
        try:
            yield
        finally:
            dist.destroy_process_group()

    @contextmanager
    def own_randomness(self) -> Iterator[None]:
        """Give torch's global random state back at the end of the block as it was."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            yield

    def seed(self, number: int) -> None:
        """Seed torch's global generators, which modules such as dropout draw from."""
        torch.default_generator.manual_seed(number)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(number)

    @property
    def leads(self) -> bool:
        """True for the one process that writes."""
        return self.rank == 0

    def share(self, indices: Tensor) -> Tensor:
        """This rank's part of a batch's indices."""
        return indices[self.rank :: self.world]

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the ranks, one all-reduce a dtype."""
        if self.world == 1:
            return
        by_dtype: dict[torch.dtype, list[nn.Parameter]] = {}
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            by_dtype.setdefault(parameter.grad.dtype, []).append(parameter)
        for group in by_dtype.values():
            gradients = [parameter.grad for parameter in group if parameter.grad is not None]
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            dist.all_reduce(flat)
            flat /= self.world
            for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
                gradient.copy_(part.view_as(gradient))

    def average_buffers(self, module: nn.Module) -> None:
        """Make floating-point buffers equal on all ranks by their mean."""
        if self.world == 1:
            return
        for buffer in module.buffers():
            if buffer.is_floating_point():
                dist.all_reduce(buffer)
                buffer /= self.world

    def all_agree(self, good: bool) -> bool:
        """True only if every rank says so."""
        return self.largest(int(not good)) == [0]

    def largest(self, *values: int) -> list[int]:
        """Each value's largest over the ranks."""
        if self.world == 1:
            return list(values)
        shared = torch.tensor(values, device=self.device)
        dist.all_reduce(shared, op=dist.ReduceOp.MAX)
        return [int(value) for value in shared.tolist()]

    def gather(self, value: Tensor) -> Tensor:
        """The ranks' values (...) as (world, ...), on every rank."""
        if self.world == 1:
            return value[None]
        parts = [torch.empty_like(value) for _ in range(self.world)]
        dist.all_gather(parts, value.contiguous())
        return torch.stack(parts)

    def wait(self) -> None:
        """Until every rank is here."""
        if self.world > 1:
            dist.barrier()
