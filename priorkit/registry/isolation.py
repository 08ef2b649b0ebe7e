"""What third-party code may do to the process around it while it runs, kept away from the command that runs it."""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from types import FrameType

__all__ = ["interrupts", "silenced"]


@contextmanager
def silenced() -> Iterator[None]:
    """Whatever is written to standard output while the block runs goes to standard error: a command's --json stays JSON.

    That holds for Python's `print`, for file descriptor 1 and for what libraries in C write.
    """
    _flush()
    try:
        kept = os.dup(1)
    except OSError:  # closed: nothing that is written can arrive anywhere
        kept = -1
    try:
        with suppress(OSError):
            os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _flush()
        if kept >= 0:
            os.dup2(kept, 1)
            os.close(kept)


@contextmanager
def interrupts() -> Iterator[list[int]]:
    """The signals of the user's Ctrl-C that come while the block runs: none where code raises KeyboardInterrupt itself."""
    came: list[int] = []
    previous = signal.getsignal(signal.SIGINT)

    def heard(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if callable(previous):
            previous(number, frame)

    try:
        if callable(previous):
            signal.signal(signal.SIGINT, heard)
    except ValueError:  # not in the main thread, where no signal comes
        previous = None
    try:
        yield came
    finally:
        if callable(previous):
            signal.signal(signal.SIGINT, previous)


def _flush() -> None:
    """Empty the buffers of standard output, Python's and C's, as far as it takes anything."""
    for stream in (sys.stdout, sys.__stdout__):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()  # type: ignore[union-attr]
    with suppress(OSError, TypeError, AttributeError):
        ctypes.CDLL(None).fflush(None)
