"""Carrying out: what is there is read, what fails is told, a signal stops everything with its state saved."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from priorkit.config import resolve
from priorkit.core import no_progress
from priorkit.engine.signals import StopRequest
from priorkit.errors import DivergedError, InterruptedRunError, UsageError
from priorkit.runs.folder import RunFolder
from priorkit.runtime.atomic_files import write_bytes
from priorkit.workflows.comparing import job_pool as execution
from priorkit.workflows.comparing.plan import Job
from priorkit.workflows.training.begin import begun


def job(folder, *options, samples=50):
    return Job(folder, resolve(None, ["backbone=twolayer", "prior=gaussian", *options]), samples=samples)


def done(folder):
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text("{}")
    return job(folder)


def test_finished_runs_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(execution, "carry_out", lambda *given: pytest.fail("it is finished"))
    assert execution.execute([done(tmp_path / "a")], workers=0) == {}
    assert execution.execute([done(tmp_path / "b")], workers=2) == {}


def test_a_failure_is_told_and_the_others_go_on(tmp_path, monkeypatch):
    begun = []

    def carry_out(asked, progress):
        begun.append(asked.folder.name)
        if asked.folder.name == "a":
            raise DivergedError("it exploded")

    monkeypatch.setattr(execution, "carry_out", carry_out)
    failed = execution.execute([job(tmp_path / "a"), job(tmp_path / "b")], workers=0)
    assert failed == {tmp_path / "a": "it exploded"}
    assert begun == ["a", "b"]


def test_an_interruption_is_no_failure(tmp_path, monkeypatch):
    def carry_out(asked, progress):
        raise InterruptedRunError("saved", signal.SIGTERM)

    monkeypatch.setattr(execution, "carry_out", carry_out)
    with pytest.raises(InterruptedRunError):
        execution.execute([job(tmp_path / "a"), job(tmp_path / "b")], workers=0)


def test_another_process_tells_what_is_wrong(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "stray.txt").write_text("in the way")
    failed = execution.execute([job(tmp_path / "a")], workers=1)
    assert "the folder is not empty" in failed[tmp_path / "a"]


def test_after_a_signal_nothing_is_begun(tmp_path):
    stop = StopRequest()
    stop(signal.SIGINT, None)
    with pytest.raises(InterruptedRunError) as stopped:
        list(execution._outcomes([job(tmp_path / "a")], 1, stop))
    assert stopped.value.exit_code == 130
    assert not (tmp_path / "a").exists()


def test_threads_are_shared_unless_they_are_set(tmp_path):
    assert execution.with_threads(job(tmp_path), 3).config.engine.threads == 3
    assert execution.with_threads(job(tmp_path, "engine.threads=1"), 3).config.engine.threads == 1


STUCK = """
import time
from priorkit.engine.signals import listening
from priorkit.workflows.comparing import worker

def carry_out(job):
    with listening():  # hears the signal and never comes to look
        print("working", flush=True)  # a job's output goes to standard error
        while True:
            time.sleep(0.1)

worker.GRACE, worker.carry_out = 0.2, carry_out
worker.main()
"""
PARENT = """
import subprocess, sys, time
told, code = sys.argv[1:]
child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
child.stdin.write(told + "\\n")
child.stdin.flush()
while "working" not in child.stderr.readline():
    assert child.poll() is None
print(child.pid, flush=True)
time.sleep(600)
"""


def alive(number):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{number}/status").read_text()
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks at processes in /proc")
def test_a_worker_ends_when_its_parent_is_killed(tmp_path):
    told = json.dumps(job(tmp_path / "a").as_dict())
    parent = subprocess.Popen([sys.executable, "-c", PARENT, told, STUCK], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    try:
        assert alive(worker)
        parent.kill()
        parent.wait()
        until = time.monotonic() + 20
        while alive(worker) and time.monotonic() < until:
            time.sleep(0.05)
        assert not alive(worker)
    finally:
        parent.kill()
        parent.stdout.close()
        if alive(worker):
            os.kill(worker, signal.SIGKILL)


@pytest.mark.parametrize("stray", [None, "notes.txt"])
def test_what_a_run_left_that_was_killed_while_it_began_is_in_nobodys_way(tmp_path, stray):
    folder = RunFolder(tmp_path / "run")
    write_bytes(folder.initial_backbone, b"of another run")
    write_bytes(folder.initial_backbone.with_name(".backbone.safetensors.7.part"), b"half")
    config = resolve(None, ["backbone=twolayer", "prior=gaussian"])
    if stray is None:
        with begun(config, folder.path, resume=False, source=None, progress=no_progress):
            names = {path.name for path in folder.path.iterdir()}
        assert names == {"config.yaml", "data.json", "MANIFEST.json", "run.lock"}
        return
    (folder.path / stray).write_text("mine")
    with pytest.raises(UsageError, match="not empty"), begun(
        config, folder.path, resume=False, source=None, progress=no_progress
    ):  # fmt: skip
        pass
    assert folder.initial_backbone.read_bytes() == b"of another run"


@pytest.mark.parametrize(
    ("outcome", "problem"),
    [('{"problem": "it exploded"}\\n', "it exploded"), ("", "the process ended with code 4: \ufffd says the last word")],
)
def test_what_is_written_while_a_process_ends_is_no_outcome(tmp_path, monkeypatch, outcome, problem):
    """A plugin may have asked to be called then, and need not write text."""
    script = tmp_path / "python"
    said = r"\377 says the last word\n"
    script.write_text(f"#!/bin/sh\nread job\nprintf '{outcome}{said}'\nprintf '{said}' >&2\nexit 4\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    assert execution.execute([job(tmp_path / "a")], workers=1) == {tmp_path / "a": problem}
