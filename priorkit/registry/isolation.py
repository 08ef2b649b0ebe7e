"""Isolates the process from side effects of third-party code."""

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
    """Redirect standard output to standard error inside the block, so that a command's --json output stays JSON.

    This covers Python's `print`, file descriptor 1 and the output of C libraries.
    """
    _flush()
    try:
        kept = os.dup(1)
    except OSError:  # closed: no output can arrive anywhere
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
    """Record the SIGINT signals that arrive inside the block: none if code raises KeyboardInterrupt itself."""
    came: list[int] = []
    previous = signal.getsignal(signal.SIGINT)

    def heard(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if callable(previous):
            previous(number, frame)

    try:
        if callable(previous):
            signal.signal(signal.SIGINT, heard)
    except ValueError:  # not in the main thread, which alone receives signals
        previous = None
    try:
        yield came
    finally:
        if callable(previous):
            signal.signal(signal.SIGINT, previous)


def _flush() -> None:
    """Flush the buffers of standard output, Python's and C's, as far as possible."""
    for stream in (sys.stdout, sys.__stdout__):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()  # type: ignore[union-attr]
    with suppress(OSError, TypeError, AttributeError):
        ctypes.CDLL(None).fflush(None)
