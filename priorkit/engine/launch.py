"""Several processes of one command on this machine."""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from tempfile import TemporaryDirectory
from types import FrameType

from priorkit.engine.world import World
from priorkit.errors import FellowError, UsageError

__all__ = ["launch", "leading", "run_ranks"]

GRACE = 5.0
"""Seconds that the other processes have to end by themselves once one has failed; they may wait for it for ever."""


def leading() -> bool:
    """False on a process that only helps: the leading one writes and has the terminal."""
    return World.read().rank == 0


def launch(devices: int, nodes: int = 1) -> bool:
    """Run this very command once a device, and give True when that is done; False if there is nothing to launch.

    As one of several processes, or with one device, the calling process is itself the one that works.  Raises SystemExit
    with the exit code of the first process that failed, which has told why, and UsageError for an environment of a launcher
    that makes no sense.
    """
    World.read()
    if "WORLD_SIZE" in os.environ:
        return False
    if nodes > 1:
        raise UsageError(
            "engine.nodes: for several machines, start the command with torchrun on each of them: "
            "torchrun --nnodes N --nproc-per-node D --rdzv-endpoint HOST:PORT -m priorkit train ..."
        )
    if devices == 1:
        return False
    code = run_ranks([sys.executable, "-m", "priorkit", *sys.argv[1:]], devices)
    if code:
        raise SystemExit(code)
    return True


def run_ranks(command: Sequence[str], count: int) -> int:
    """Run a command `count` times as ranks of one world; gives 0, or the exit code of the first that failed with a reason.

    The leading rank has the terminal; what another one says is shown only where it alone knows why the run failed.
    """
    with TemporaryDirectory() as folder:
        logs = [Path(folder) / str(rank) for rank in range(count)]
        port = _free_port()
        ranks: list[Popen[bytes]] = []
        with _forwarding(ranks) as missed:
            for rank, log in enumerate(logs):
                ranks.append(_start(command, rank, count, port, log))
            for number, first in missed:
                _send(ranks[first:], number)
            failed = _wait(ranks)
        if not failed:
            return 0
        # A process that lost another one is no cause; 1 and less are defects and signals: often mere consequences too.
        codes = [process.returncode for process in ranks]
        cause = min(failed, key=lambda rank: (codes[rank] == FellowError.exit_code, codes[rank] <= 1))
        code = ranks[cause].returncode
        if ranks[0].returncode != code:
            sys.stderr.write(logs[cause].read_text(errors="replace"))
        return code if code > 0 else 128 - code


def _start(command: Sequence[str], rank: int, count: int, port: int, log: Path) -> Popen[bytes]:
    world = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
    environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in world.items()}}
    # In a group of its own, or Ctrl-C would reach it twice: from the terminal and from here.
    if rank == 0:
        return Popen(command, env=environment, process_group=0)
    with log.open("wb") as stream:
        return Popen(command, env=environment, process_group=0, stdout=stream, stderr=stream)


def _wait(ranks: Sequence[Popen[bytes]]) -> list[int]:
    """Until all have ended; gives those that failed, in the order in which they did."""
    failed: list[int] = []
    deadline = float("inf")
    running = set(range(len(ranks)))
    while running:
        ended = sorted(rank for rank in running if ranks[rank].poll() is not None)
        running -= set(ended)
        failed += [rank for rank in ended if ranks[rank].returncode]
        if failed and deadline == float("inf"):
            deadline = time.monotonic() + GRACE
        if time.monotonic() > deadline:
            _send(ranks, signal.SIGKILL)
        time.sleep(0.05)
    return failed


def _send(ranks: Sequence[Popen[bytes]], number: int) -> None:
    for rank in ranks:
        if rank.poll() is None:
            rank.send_signal(number)


@contextmanager
def _forwarding(ranks: Sequence[Popen[bytes]]) -> Iterator[Sequence[tuple[int, int]]]:
    """Hand Ctrl-C and SIGTERM on to all ranks, which save and end; in the main thread, as handlers allow no other.

    Gives the signals that came, each with the number of ranks that had been started by then.
    """
    came: list[tuple[int, int]] = []

    def forward(number: int, frame: FrameType | None) -> None:
        came.append((number, len(ranks)))
        _send(ranks, number)

    try:
        previous = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:
        previous = {}
    try:
        yield came
    finally:
        _send(ranks, signal.SIGKILL)  # only where waiting itself failed
        for number, handler in previous.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
