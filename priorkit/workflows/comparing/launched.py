"""The jobs of a comparison divided among the processes that torchrun has started, on one machine or several.

Each job remains one process on one device, so a run is the same wherever it is trained. The machines need a shared folder.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from priorkit.engine.world import World
from priorkit.workflows.comparing.plan import Job

__all__ = ["Launched"]

PATIENCE = timedelta(days=30)
"""How long a process waits for the runs of the others; the connection to a process that is lost breaks at once."""


@dataclass(frozen=True)
class Launched:
    """One of the processes with which a comparison was started; every one of them must make the same calls."""

    world: World = field(default_factory=World)

    @classmethod
    @contextmanager
    def joined(cls) -> Iterator[Self]:
        """Be one of the processes that the launcher's environment names while the block runs."""
        world = World.read()
        if world.size == 1:
            yield cls(world)
            return
        with world.joined("gloo", PATIENCE):
            yield cls(world)

    @property
    def is_main(self) -> bool:
        """True for the one process that writes the comparison."""
        return self.world.rank == 0

    def divide(self, jobs: Sequence[Job]) -> list[Job]:
        """Return this process's part of the jobs that the main process has found unfinished.

        The order of the processes shifts from round to round: the slowest prior is not always the same one's.
        """
        if self.world.size == 1:
            return list(jobs)
        unfinished: list[Path] = self._gathered([job.folder for job in jobs])[0]
        size = self.world.size
        mine = {folder for i, folder in enumerate(unfinished) if (i + i // size) % size == self.world.rank}
        return [job for job in jobs if job.folder in mine]

    def merge(self, failed: Mapping[Path, str]) -> dict[Path, str]:
        """Return the failures of all processes, once all have run their jobs."""
        if self.world.size == 1:
            return dict(failed)
        return {folder: problem for part in self._gathered(dict(failed)) for folder, problem in part.items()}

    def _gathered(self, value: object) -> list[Any]:
        import torch.distributed as dist

        told: list[Any] = [None] * self.world.size
        dist.all_gather_object(told, value)
        return told
