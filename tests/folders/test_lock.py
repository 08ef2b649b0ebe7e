"""One process at a time trains in a folder; a lock that was left behind is in nobody's way."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest

from priorkit.config import resolve
from priorkit.errors import UsageError
from priorkit.runs import lock
from priorkit.runs.lock import LOCK, Holder, locked
from priorkit.workflows.training import train as workflow

HOLDING = """
import sys, time
from pathlib import Path
from priorkit.runs.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(100)
"""


def holding(folder):
    """Another process that holds the folder's lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLDING, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def left_behind(folder, **changed):
    """A lock file whose process did not remove it."""
    holder = {"pid": 2**22 + 1, "host": socket.gethostname(), "born": "1", "since": "2031-01-01T00:00:00+00:00"} | changed
    (folder / LOCK).write_text(json.dumps(holder))


def test_another_process_is_named_and_one_that_was_killed_holds_nothing(tmp_path):
    process = holding(tmp_path)
    try:
        with pytest.raises(UsageError, match=rf"process {process.pid} on {socket.gethostname()}"), locked(tmp_path):
            pass
    finally:
        process.kill()
        process.communicate()
    assert (tmp_path / LOCK).is_file()
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert not (tmp_path / LOCK).exists()


def test_two_of_one_process(tmp_path):
    with locked(tmp_path), pytest.raises(UsageError, match="another process"), locked(tmp_path):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x", "host": 3, "born": "", "since": ""}', '{"pid": 3}'])
def test_a_lock_that_names_nobody(tmp_path, content):
    (tmp_path / LOCK).write_text(content)
    with locked(tmp_path):
        pass


def test_without_locks_of_the_system_the_process_itself_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_system_lock", lambda descriptor: "unknown")
    parent = Holder(os.getppid(), socket.gethostname(), lock._born(os.getppid()), "")
    left_behind(tmp_path, pid=parent.pid, born=parent.born)
    with pytest.raises(UsageError, match="another process"), locked(tmp_path):
        pass
    for gone in ({}, {"pid": parent.pid, "born": f"{parent.born}0"}):  # no such process; a later one of that number
        left_behind(tmp_path, **gone)
        with locked(tmp_path):
            pass


@pytest.mark.parametrize("beats", [True, False])
def test_another_machine_is_believed_as_long_as_it_touches_the_lock(tmp_path, monkeypatch, beats):
    monkeypatch.setattr(lock, "PATIENCE", 1.0)
    monkeypatch.setattr(lock, "LOOK", 0.05)
    left_behind(tmp_path, host="elsewhere")
    done = threading.Event()

    def touch():
        while not done.wait(0.1):
            os.utime(tmp_path / LOCK)

    thread = threading.Thread(target=touch)
    with ExitStack() as stack:
        if beats:
            thread.start()
            stack.callback(lambda: (done.set(), thread.join()))
            stack.enter_context(pytest.raises(UsageError, match="on elsewhere"))
        with locked(tmp_path):
            assert not beats


def test_the_holder_touches_the_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.02)
    with locked(tmp_path):
        os.utime(tmp_path / LOCK, (0, 0))
        until = time.monotonic() + 30
        while not (tmp_path / LOCK).stat().st_mtime and time.monotonic() < until:
            time.sleep(0.01)
        assert (tmp_path / LOCK).stat().st_mtime


@pytest.mark.parametrize("when", ["future", "past"])
def test_a_clock_that_was_set_is_not_read(tmp_path, when):
    """A lock from the next century, or the last, is as free as its process is gone."""
    left_behind(tmp_path, since="2199-01-01T00:00:00+00:00" if when == "future" else "1970-01-01T00:00:00+00:00")
    moment = 7e9 if when == "future" else 0
    os.utime(tmp_path / LOCK, (moment, moment))
    with locked(tmp_path):
        pass


def test_training_holds_it(tmp_path, tiny):
    """Whoever comes second is refused, to go on with the run or to begin one; nothing of the first one's is touched."""
    seen = []

    def second(phase, step, figures):
        files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != LOCK}
        for resume in (True, False):
            with pytest.raises(UsageError, match=r"another process|not empty"):
                workflow.fit(config, tmp_path, resume=resume)
        seen.append(phase)
        assert files == {path: path.read_bytes() for path in files}

    config = resolve(None, tiny)
    workflow.fit(config, tmp_path, on_log=lambda *told: None if seen else second(*told))
    assert seen and not (tmp_path / LOCK).exists()
