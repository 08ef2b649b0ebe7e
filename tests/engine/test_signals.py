"""The first Ctrl-C saves and stops; the second one aborts where the run stands, and it goes on from its last checkpoint."""

import os
import signal
import subprocess
import sys

import kill

from priorkit.config import RunConfig, resolve
from priorkit.workflows.training import train as workflow

TWICE = """
import os, signal, sys, time
from priorkit.engine import loop
from priorkit.runtime import atomic_files
from priorkit.cli import main

# The first signal comes in a step, the second in the midst of the checkpoint that it asked for.
save, write = loop.Engine._save, atomic_files.write_bytes
def first(phase, step, figures):
    if (phase, step) == ("prior.1", 14):
        os.kill(os.getpid(), signal.SIGINT)
        def second(path, content):
            write(path, content)
            if path.name == "state.json":
                os.kill(os.getpid(), signal.SIGINT)
        atomic_files.write_bytes = second
import priorkit.cli.terminal
priorkit.cli.terminal.follow = lambda console, quiet, progress: first
sys.argv = ["priorkit", "train", "--resume", sys.argv[1]]
main()
"""


def test_the_second_signal_aborts_and_loses_nothing(tmp_path, tiny):
    config = resolve(None, [*tiny, "engine.checkpoint_seconds=1000"])
    workflow.fit(config, tmp_path / "whole")
    (tmp_path / "run").mkdir()
    config.write(tmp_path / "run" / "config.yaml")
    done = subprocess.run(
        [sys.executable, "-c", TWICE, str(tmp_path / "run")], stderr=subprocess.PIPE, text=True, check=False, env=os.environ
    )
    assert done.returncode == 128 + signal.SIGINT, done.stderr
    assert done.stderr.endswith("priorkit: aborted; files saved before are complete.\n") and "Traceback" not in done.stderr
    assert list((tmp_path / "run" / "resume").glob(".*.part")), "the second signal came while nothing was written"
    workflow.fit(RunConfig.read(tmp_path / "run" / "config.yaml"), tmp_path / "run", resume=True)
    assert kill.result(tmp_path / "run") == kill.result(tmp_path / "whole")
    assert not list((tmp_path / "run").rglob(".*.part"))
