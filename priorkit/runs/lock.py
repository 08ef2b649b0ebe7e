"""Only one process at a time trains in a run's folder: `run.lock` names it.

The operating system's lock on that file ends with its process, however that ended, so an abandoned lock is free. Between
machines, whose file system may not share such locks, the holder also touches the file every few seconds: a file that is not
touched any more is abandoned. Only the waiting process's clock is used.
"""

import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from priorkit.errors import UsageError
from priorkit.runtime.atomic_files import writing

__all__ = ["LOCK", "Holder", "locked"]

LOCK = "run.lock"
BEAT = 5.0
"""Seconds between two touches."""
PATIENCE = 30.0
"""Seconds without a touch after which another machine's lock counts as abandoned."""
LOOK = 0.5


@dataclass(frozen=True)
class Holder:
    """The process named in a lock."""

    pid: int
    host: str
    born: str
    """When the process started, on its system's clock; distinguishes it from a later one with the same number. '' if
    unknown."""
    since: str
    """When it acquired the lock, on its machine's clock; for display only."""

    @classmethod
    def this(cls) -> Self:
        """Return this process."""
        return cls(os.getpid(), socket.gethostname(), _born(os.getpid()), datetime.now(UTC).isoformat(timespec="seconds"))

    @classmethod
    def of(cls, content: bytes) -> Self | None:
        """Return the holder in a lock's content; None if it is empty, since its process ended while writing."""
        try:
            holder = cls(**json.loads(content))
        except (ValueError, TypeError):
            return None
        return holder if isinstance(holder.pid, int) and isinstance(holder.host, str) else None

    def runs(self) -> bool:
        """Return whether that process of this machine still exists."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except (PermissionError, OverflowError):
            pass
        return _born(self.pid) == self.born


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock inside the block. Raises UsageError if another process has it."""
    path = folder / LOCK
    with writing(path):
        descriptor = _acquired(path)
    done = threading.Event()
    beat = threading.Thread(target=_touch, args=(descriptor, done), daemon=True)
    beat.start()
    try:
        yield
    finally:
        done.set()
        beat.join()
        # While it is still held: a process that has opened it meanwhile sees that it is gone, and makes another.
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquired(path: Path) -> int:
    """Return the descriptor of the acquired lock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o644)
        try:
            state = _system_lock(descriptor)
            if not _is_at(descriptor, path):
                os.close(descriptor)  # its holder has removed it since it was opened
                continue
            holder = Holder.of(os.pread(descriptor, 4096, 0))
            if state == "busy" or (holder is not None and _holds(path, holder, state)):
                raise UsageError(_told(path.parent, holder))
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(asdict(Holder.this())).encode(), 0)
            os.fsync(descriptor)
        except BaseException:  # the file is closed before any exception is raised again
            os.close(descriptor)
            raise
        return descriptor


def _system_lock(descriptor: int) -> str:
    """Return 'held' by this process now, 'busy' if another has it, or 'unknown' to this file system."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "busy"
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL):
            return "unknown"
        raise
    return "held"


def _holds(path: Path, holder: Holder, state: str) -> bool:
    """Return whether the lock's holder is alive although the operating system granted the lock."""
    if holder.host == socket.gethostname():
        return state == "unknown" and holder.pid != os.getpid() and holder.runs()
    before, deadline = _touched(path), time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        time.sleep(min(LOOK, PATIENCE))
        if _touched(path) != before:
            return True
    return False


def _touched(path: Path) -> int:
    """Return when the file was last touched. It is reopened, since network file systems update only then."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.fstat(descriptor).st_mtime_ns
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _touch(descriptor: int, done: threading.Event) -> None:
    while not done.wait(BEAT):
        with suppress(OSError):  # a temporarily unavailable network file system
            os.utime(descriptor)


def _born(pid: int) -> str:
    """Return clock ticks from the start of the machine to that of the process, if /proc is available."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _told(folder: Path, holder: Holder | None) -> str:
    who = "" if holder is None else f" (process {holder.pid} on {holder.host}, since {holder.since})"
    return (
        f"{folder}: another process is training in this folder{who}. Wait for it, or stop it and "
        f"continue with `priorkit train --resume {folder}`; the lock of a process that has ended is "
        "ignored."
    )
