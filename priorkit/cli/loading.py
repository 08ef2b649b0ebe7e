"""Something that moves while libraries are imported, which takes seconds before a command can say anything."""

import sys
import time
from importlib import import_module
from threading import Event, Thread

__all__ = ["load_libraries"]

QUIET = 0.5
"""Seconds without a word."""
EVERY = 0.25
TURNING = "|/-\\"


def load_libraries() -> None:
    """Import torch; on a terminal, standard error shows that it goes on, and nothing when it is done."""
    if "torch" in sys.modules or sys.stderr is None or not sys.stderr.isatty():
        return
    done = Event()
    shown = Thread(target=_turn, args=(done,), daemon=True)
    shown.start()
    try:
        import_module("torch")
    finally:
        done.set()
        shown.join()


def _turn(done: Event) -> None:
    begun = time.monotonic()
    if done.wait(QUIET):
        return
    while not done.wait(EVERY):
        spent = time.monotonic() - begun
        sys.stderr.write(f"\r{TURNING[int(spent / EVERY) % len(TURNING)]} loading torch  {spent:.0f} s")
        sys.stderr.flush()
    sys.stderr.write("\r\x1b[K")
    sys.stderr.flush()
