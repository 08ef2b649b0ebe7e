"""Several processes of one command: exit codes, signals, and a run from start to end."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from typer.testing import CliRunner

import priorkit
from priorkit.cli import app
from priorkit.config import resolve
from priorkit.engine import launch as launching
from priorkit.engine.launch import run_ranks

WAITS = """
import os, signal, sys, time
def stop(number, frame):
    open(sys.argv[1] + "/" + os.environ["RANK"], "w").close()
    raise SystemExit(128 + number)
signal.signal(signal.SIGTERM, stop)
open(sys.argv[1] + "/ready" + os.environ["RANK"], "w").close()
time.sleep(60)
"""


@pytest.mark.parametrize(("zero", "one", "expected"), [(0, 0, 0), (2, 2, 2), (0, 3, 3), (1, 4, 4), (1, 1, 1)])
def test_the_exit_code_is_that_of_the_process_with_a_reason(zero, one, expected):
    code = f"import os, sys; sys.exit(({zero}, {one})[int(os.environ['RANK'])])"
    assert run_ranks([sys.executable, "-c", code], 2) == expected


def test_what_a_follower_says_is_shown_where_it_alone_failed(capsys):
    code = "import os, sys; sys.exit('why it failed' if os.environ['RANK'] == '1' else 0)"
    assert run_ranks([sys.executable, "-c", code], 2) == 1
    assert "why it failed" in capsys.readouterr().err


def test_a_process_that_waits_for_a_failed_one_is_ended(monkeypatch):
    monkeypatch.setattr("priorkit.engine.launch.GRACE", 0.2)
    code = "import os, sys, time; time.sleep(60) if os.environ['RANK'] == '0' else sys.exit(3)"
    assert run_ranks([sys.executable, "-c", code], 2) == 3


def test_a_signal_reaches_all_and_all_are_waited_for(tmp_path):
    def interrupt():
        while not all((tmp_path / f"ready{rank}").exists() for rank in range(2)):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt).start()
    assert run_ranks([sys.executable, "-c", WAITS, str(tmp_path)], 2) == 143
    assert (tmp_path / "0").exists() and (tmp_path / "1").exists()


def test_two_processes_train_a_run(tmp_path, tiny):
    options = [part for option in [*tiny, "prior.stages=1"] for part in ("--set", option)]
    command = [sys.executable, "-m", "priorkit", "train", "--quiet", "--figures", "none", "--devices", "2", *options]
    command += ["--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert priorkit.load(tmp_path / "run").sample(3, seed=0).shape == (3, 1, 8, 8)
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [(record["phase"], record["step"]) for record in records if "loss" in record]
    assert len(set(steps)) == len(steps)
    again = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert again.returncode == 2
    assert again.stderr.count("is not empty") == 1
    assert "Traceback" not in again.stderr


def test_a_run_goes_on_with_another_number_of_processes(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("priorkit.engine.launch.launch", lambda *numbers: asked.append(numbers) or True)
    resolve(None, ["engine.devices=2"]).write(tmp_path / "config.yaml")
    for options in ([], ["--devices", "3"]):
        done = CliRunner().invoke(app, ["train", "--resume", str(tmp_path), *options])
        assert done.exit_code == 0, done.output
    assert asked == [(2, 1), (3, 1)]


def test_a_signal_that_comes_while_a_process_is_started_reaches_it_too(tmp_path, monkeypatch):
    """The handler knows only the processes that have been started by then."""

    def start(command, rank, *rest):
        process = begin(command, rank, *rest)
        while not (tmp_path / f"ready{rank}").exists():
            time.sleep(0.01)
        if rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return process

    begin = launching._start
    monkeypatch.setattr(launching, "_start", start)
    assert run_ranks([sys.executable, "-c", WAITS, str(tmp_path)], 2) == 143
    assert (tmp_path / "0").exists() and (tmp_path / "1").exists()
