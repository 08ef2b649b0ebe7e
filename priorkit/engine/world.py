"""Which of how many processes this one is, as the launcher's environment says, and how they find each other.

`torchrun` sets these variables, as `priorkit --devices` does.  A half of them, left over from another program or written by
hand, would end in a traceback, or in processes that wait for others that never come.
"""

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from priorkit.errors import FellowError, UsageError, said

__all__ = ["World"]

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
JOIN = timedelta(minutes=5)
"""How long the processes of a run may take to find each other, once each of them has been started."""
LATER = timedelta(minutes=30)
"""How long one may wait for another from then on, torch's own default."""
ADVICE = (
    "Start the command with torchrun or with --devices, which set all of these variables, or unset them for one process."
)


@dataclass(frozen=True)
class World:
    """One of `size` processes; of the processes of its machine, one of `local_size`."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None) -> Self:
        """From the environment; alone where it names no rank.  Raises UsageError where it makes no sense."""
        environ = os.environ if environ is None else environ
        found = {name: _number(name, environ[name]) for name in NAMES if name in environ}
        if not found:
            return cls()
        if missing := [name for name in ("RANK", "WORLD_SIZE") if name not in found]:
            raise UsageError(f"{' and '.join(found)} is set without {' and '.join(missing)}. {ADVICE}")
        size = found["WORLD_SIZE"]
        world = cls(found["RANK"], size, found.get("LOCAL_RANK", 0), found.get("LOCAL_WORLD_SIZE", min(size, 1)))
        if not (0 <= world.rank < size and 0 <= world.local_rank <= world.rank and 1 <= world.local_size <= size):
            raise UsageError(f"{_shown(found)} are inconsistent. {ADVICE}")
        if "LOCAL_WORLD_SIZE" in found and world.local_rank >= world.local_size:
            raise UsageError(f"{_shown(found)} are inconsistent. {ADVICE}")
        if size > 1:
            _see_address(environ)
        return world

    def apart(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a process that this one starts to work alone, on the GPU that is this one's."""
        own = {name: value for name, value in environ.items() if name not in NAMES}
        gpus = environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(self.local_size)))).split(",")
        if self.local_size > 1 and self.local_rank < len(gpus):
            own["CUDA_VISIBLE_DEVICES"] = gpus[self.local_rank]
        return own

    @contextmanager
    def joined(self, backend: str, patience: timedelta | None = None) -> Iterator[None]:
        """Be one of the process group while the block runs; one call of another waits for `patience`, None for torch's own.

        Raises UsageError where the processes do not find each other, FellowError where one of them is gone later.
        """
        import torch.distributed as dist
        from torch.distributed.rendezvous import rendezvous

        address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        try:
            store, _, _ = next(rendezvous("env://", self.rank, self.size, timeout=JOIN))
            # The store of torchrun outlives a group: the addresses of an earlier one must not be taken for this one's.
            turn = store.add(f"groups of {self.rank}", 1)
            own = dist.PrefixStore(f"group {turn}", store)  # type: ignore[attr-defined]
            dist.init_process_group(backend, store=own, rank=self.rank, world_size=self.size, timeout=patience)
            store.set_timeout(patience or LATER)  # by it processes meet again, at any time of the run
        except (RuntimeError, OSError, ValueError) as error:
            raise UsageError(
                f"process {self.rank} of {self.size} does not find the others at {address} (MASTER_ADDR, "
                f"MASTER_PORT): {said(error)}. Use a free port, and check that all processes have been "
                "started."
            ) from error
        try:
            yield
        except RuntimeError as error:
            if not _broken(error):
                raise
            told = f"process {self.rank} of {self.size}: another process of this run ended; its message gives the reason."
            raise FellowError(told) from error
        finally:
            dist.destroy_process_group()


def _broken(error: RuntimeError) -> bool:
    """Whether an error tells of a broken connection to another process: gloo has no class of its own for that."""
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or "/gloo/" in str(error) or "gloo::" in str(error)


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UsageError(f"{name} is {text!r}, which is not a process number or a number of processes. {ADVICE}")
    return int(text)


def _see_address(environ: Mapping[str, str]) -> None:
    if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if not environ.get(name)]:
        raise UsageError(f"WORLD_SIZE is {environ['WORLD_SIZE']}, but {' and '.join(missing)} is not set. {ADVICE}")
    port = _number("MASTER_PORT", environ["MASTER_PORT"])
    if not 0 < port < 2**16:
        raise UsageError(f"MASTER_PORT is {port}; a port is a number from 1 to 65535. {ADVICE}")
    try:
        socket.getaddrinfo(environ["MASTER_ADDR"], port)
    except (OSError, UnicodeError) as error:
        told = f"MASTER_ADDR is {environ['MASTER_ADDR']!r}, which is not the address of a known machine"
        raise UsageError(f"{told}. {ADVICE}") from error


def _shown(found: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={value}" for name, value in found.items())
