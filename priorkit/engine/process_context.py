"""The context of a process: its device, its rank, and the collective operations.

Launched as one of several the environment names the ranks; launched alone the world is one process and every agreement is
free.  Gradients are averaged explicitly, in flat buckets of one dtype, a missing gradient counting as zero: wrappers
give wrong gradients for two forwards followed by two backwards and for a backward through an energy's gradient.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from priorkit.core import Progress, no_progress, serial_map
from priorkit.engine.world import World
from priorkit.errors import FellowError, PriorkitError, UsageError
from priorkit.runtime.sent import sent

__all__ = ["ProcessContext"]


@dataclass(frozen=True)
class ProcessContext:
    """One process among `world` ones."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @classmethod
    def find(cls, device: str = "auto") -> "ProcessContext":
        """Read the launcher's environment.  Raises UsageError where it makes no sense, or the device is not there."""
        world = World.read()
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda" and not torch.cuda.is_available():
            raise UsageError("engine.device: 'cuda' was requested but torch finds no GPU. Use --set engine.device=cpu.")
        number = world.local_rank
        found = torch.device(device, number) if device == "cuda" else torch.device(device)
        if device == "cuda":
            if number >= torch.cuda.device_count():
                raise UsageError(
                    f"--devices: process {number + 1} of this machine finds {torch.cuda.device_count()} GPUs. "
                    "Start as many processes as there are GPUs, with --devices."
                )
            torch.cuda.set_device(found)
        return cls(found, world.rank, world.size)

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Be one of the process group, if there are several processes, for as long as the block runs."""
        if self.world == 1:
            yield
            return
        with World(self.rank, self.world).joined("nccl" if self.device.type == "cuda" else "gloo"):
            yield

    @contextmanager
    def preserve_rng_state(self) -> Iterator[None]:
        """Give torch's global random state back at the end of the block as it was."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            yield

    def seed(self, number: int) -> None:
        """Seed torch's global generators, which modules such as dropout draw from."""
        torch.default_generator.manual_seed(number)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(number)

    def random_state(self) -> list[Tensor]:
        """The state of these generators."""
        state = [torch.get_rng_state()]
        return [*state, torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else state

    def set_random_state(self, state: Sequence[Tensor]) -> None:
        """The inverse of `random_state`."""
        torch.set_rng_state(state[0])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state[1], self.device)

    @property
    def is_main(self) -> bool:
        """True for the one process that writes."""
        return self.rank == 0

    def empty_cache(self) -> None:
        """Give memory that nothing holds back to the device."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def shard(self, count: int) -> range:
        """Which of `count` things this rank does."""
        return range(self.rank, count, self.world)

    def parallel_map(
        self, chunk: Callable[[int], dict[str, Tensor]], count: int, *, progress: Progress = no_progress, title: str = ""
    ) -> dict[str, Tensor]:
        """The `ParallelMap` over the ranks; tensors come back on this process's device.

        Raises what a chunk raises: what a user can mend on every rank, so that all go the same way from there; of anything
        else the ranks that did their chunks hear by a FellowError.
        """
        if self.world == 1:
            return serial_map(chunk, count, progress=progress, title=title)
        mine = self.shard(count)
        done: dict[int, dict[str, Tensor]] = {}
        failure: BaseException | None = None
        try:
            for number in progress(mine, len(mine), title):
                done[number] = {name: part.to(self.device).contiguous() for name, part in chunk(number).items()}
        except BaseException as error:  # the others wait, and are told before it goes on its way
            failure = error
        shapes = {number: {name: (part.shape, part.dtype) for name, part in found.items()} for number, found in done.items()}
        told: list[Any] = [None] * self.world
        mendable = failure if isinstance(failure, PriorkitError) else None
        dist.all_gather_object(told, ((title, count), mendable, None if failure else shapes))
        if failure:
            raise failure
        if found := [error for _, error, _ in told if error]:
            raise found[0]
        if any(work != (title, count) for work, _, _ in told):
            raise FellowError(f"{title or 'a computation'}: another process took another branch after an error.")
        if any(made is None for _, _, made in told):
            raise FellowError(f"{title or 'a computation'}: another process failed; its message gives the reason.")
        for number in range(count):
            owner = number % self.world
            if owner != self.rank:
                done[number] = {
                    name: torch.empty(shape, dtype=dtype, device=self.device)
                    for name, (shape, dtype) in told[owner][2][number].items()
                }
            for part in done[number].values():
                dist.broadcast(part, src=owner)
        return serial_map(lambda number: done.pop(number), count)

    @torch.no_grad()
    def all_reduce_rows(self, tensor: Tensor) -> None:
        """Merge a tensor of which each rank has updated a subset of the rows."""
        if self.world == 1:
            return
        own = torch.zeros_like(tensor)
        own[self.rank :: self.world] = tensor[self.rank :: self.world]
        dist.all_reduce(own)
        tensor.copy_(own)

    @torch.no_grad()
    def broadcast_parameters(self, module: nn.Module) -> None:
        """Take over the leading process's parameters and buffers: what each computed for itself may differ in last bits."""
        if self.world == 1:
            return
        for tensor in (*module.parameters(), *module.buffers()):
            whole = tensor.contiguous()
            dist.broadcast(whole, src=0)
            tensor.copy_(whole)

    def average_gradients(self, parameters: Iterable[nn.Parameter], *more: Tensor) -> None:
        """Replace every gradient, and `more` tensors beside them, by its mean over the ranks, one all-reduce a dtype."""
        if self.world == 1:
            return
        gradients = list(more)
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        self.all_reduce_mean(gradients)

    def all_reduce_mean(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by its mean over the ranks, one all-reduce a dtype."""
        if self.world == 1:
            return
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            by_dtype.setdefault(tensor.dtype, []).append(tensor)
        for group in by_dtype.values():
            flat = torch.cat([tensor.flatten() for tensor in group])
            dist.all_reduce(flat)
            flat /= self.world
            for tensor, part in zip(group, torch.split(flat, [tensor.numel() for tensor in group]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def all_true(self, good: bool) -> bool:
        """True only if every rank says so."""
        return self.all_reduce_max(int(not good)) == [0]

    def all_reduce_max(self, *values: int) -> list[int]:
        """Each value's largest over the ranks."""
        if self.world == 1:
            return list(values)
        shared = sent(torch.tensor(values), self.device)
        dist.all_reduce(shared, op=dist.ReduceOp.MAX)
        return [int(value) for value in shared.tolist()]

    def all_gather(self, value: Tensor) -> Tensor:
        """The ranks' values (...) as (world, ...), on every rank; figures of a plugin may lie on the host."""
        if self.world == 1:
            return value[None]
        value = value.to(self.device)
        parts = [torch.empty_like(value) for _ in range(self.world)]
        dist.all_gather(parts, value.contiguous())
        return torch.stack(parts)

    def barrier(self) -> None:
        """Until every rank is here."""
        if self.world > 1:
            dist.barrier()
