"""A process that runs one job: the job is read as a line from standard input, the outcome is written to standard output.

It stops like any run, with its state saved, when its standard input ends: then the parent process is gone. If it does not
stop soon, it exits at once: files are written completely or not at all, so that the run continues from its last checkpoint,
and the same command, started again, must not find the old process in the folder.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback

from priorkit.errors import PriorkitError, said
from priorkit.registry.isolation import silenced
from priorkit.workflows.comparing.plan import Job
from priorkit.workflows.comparing.run_job import carry_out

__all__ = ["main"]

GRACE = 5.0
"""Seconds to save the state after the parent process has gone."""


def main() -> int:
    """Read a job, run it, write the outcome; return the exit code."""
    told = json.loads(sys.stdin.readline())
    threading.Thread(target=_stop_when_alone, daemon=True).start()
    try:
        with silenced():  # standard output contains only the outcome, whatever a plugin prints
            carry_out(Job.of(told))
    except PriorkitError as error:
        return _tell(str(error), error.exit_code)
    except Exception as error:  # a defect of one prior must not end the comparison of the others
        traceback.print_exc()
        return _tell(said(error), 1)
    return _tell("", 0)


def _tell(problem: str, code: int) -> int:
    sys.stdout.write(json.dumps({"problem": problem}) + "\n")
    return code


def _stop_when_alone() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
