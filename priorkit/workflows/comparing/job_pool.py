"""Runs jobs, several at once, each in a separate process.

A separate process gives each run fresh memory to be measured, limits a crash to one line of the table, and lets small models
use several cores. A signal is forwarded once: every run saves its state, and the same command continues.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from priorkit.core import Progress, no_progress
from priorkit.engine.process_context import ProcessContext
from priorkit.engine.signals import StopRequest, listening
from priorkit.engine.world import World
from priorkit.errors import InterruptedRunError, PriorkitError
from priorkit.workflows.comparing.launched import Launched
from priorkit.workflows.comparing.plan import Job
from priorkit.workflows.comparing.run_job import carry_out, finished

__all__ = ["default_workers", "execute"]

MAX_WORKERS = 4
"""Default number of simultaneous runs; each has its data and model in memory."""
LOOK = 0.1
"""Seconds between two polls of the processes."""
LAST_WORDS = 500
"""Number of characters of a failed process's log in a message."""


def default_workers(jobs: Sequence[Job]) -> int:
    """Return one per core up to four; one if the runs share an accelerator."""
    on_cpu = all(ProcessContext.find(job.config.engine.device).device.type == "cpu" for job in jobs)
    return max(1, min(cores(), MAX_WORKERS)) if on_cpu else 1


def cores() -> int:
    """Return the number of cores available to this process: its part, if several were started on this machine."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, here // World.read().local_size)


def execute(
    jobs: Sequence[Job],
    *,
    workers: int | None = None,
    title: str = "runs",
    progress: Progress = no_progress,
    launched: Launched = Launched(),  # noqa: B008 (frozen)
) -> dict[Path, str]:
    """Run the unfinished jobs, divided among all processes that were launched; return the folders of failed jobs with the
    reasons.

    `workers` processes run at once; with 0, the jobs run one after the other in this process. Raises InterruptedRunError
    after a signal.
    """
    left = launched.divide([job for job in jobs if not finished(job)])
    return launched.merge(_execute(left, workers, title, progress) if left else {})


def _execute(left: Sequence[Job], workers: int | None, title: str, progress: Progress) -> dict[Path, str]:
    if workers == 0:
        return dict(_one_by_one(left, title, progress))
    many = min(workers or default_workers(left), len(left))
    shared = [with_threads(job, max(1, cores() // many)) for job in left]
    failed: dict[Path, str] = {}
    with listening() as stop:
        for job, problem in progress(_outcomes(shared, many, stop), len(left), title):
            if problem:
                failed[job.folder] = problem
    return failed


def with_threads(job: Job, threads: int) -> Job:
    """Return the job with that number of threads, unless its configuration sets the number."""
    engine = job.config.engine
    if engine.threads is not None:
        return job
    return replace(job, config=job.config.model_copy(update={"engine": engine.model_copy(update={"threads": threads})}))


def _one_by_one(jobs: Sequence[Job], title: str, progress: Progress) -> Iterator[tuple[Path, str]]:
    for job in progress(jobs, len(jobs), title):
        try:
            carry_out(job, progress)
        except InterruptedRunError:
            raise
        except PriorkitError as error:
            yield job.folder, str(error)


@dataclass
class _Running:
    job: Job
    process: subprocess.Popen[str]
    log: IO[str]

    def problem(self) -> str:
        """Return why the process failed; empty if it did not."""
        told = self.process.stdout.read() if self.process.stdout else ""
        if self.process.returncode == 0:
            return ""
        if problem := next(filter(None, map(_outcome, reversed(told.splitlines()))), ""):
            return problem
        self.log.seek(0)
        return f"the process ended with code {self.process.returncode}: {self.log.read()[-LAST_WORDS:].strip()}"


def _outcome(line: str) -> str:
    """Return the problem in a line of a worker's output; empty for a line written by a plugin while the process ended."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return ""
    return str(found.get("problem", "")) if isinstance(found, dict) else ""


def _outcomes(jobs: Sequence[Job], workers: int, stop: StopRequest) -> Iterator[tuple[Job, str]]:
    """Yield each job and its problem when it ends."""
    waiting, running = list(jobs), list[_Running]()
    # The processes end before their files are closed: a worker whose input ends assumes that its parent is gone.
    with ExitStack() as stack, ExitStack() as ending:
        ending.callback(lambda: _end(running))
        while waiting or running:
            if stop.number is not None:
                _end(running)
                raise InterruptedRunError(
                    "Stopped with all runs saved; run the same command again to continue.", stop.number
                )
            while waiting and len(running) < workers:
                running.append(_start(waiting.pop(0), stack))
            for one in [one for one in running if one.process.poll() is not None]:
                running.remove(one)
                yield one.job, one.problem()
            time.sleep(LOOK)


def _start(job: Job, stack: ExitStack) -> _Running:
    log = stack.enter_context(tempfile.TemporaryFile("w+", errors="replace"))  # noqa: SIM115 - the stack closes it
    # A separate session: Ctrl-C must reach it once, through this process, and not from the terminal too.
    process = subprocess.Popen(
        [sys.executable, "-m", "priorkit.workflows.comparing.worker"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, errors="replace",
        start_new_session=True, env=World.read().apart(os.environ),
    )  # fmt: skip
    for pipe in filter(None, (process.stdin, process.stdout)):
        stack.enter_context(pipe)
    if process.stdin is not None:
        process.stdin.write(json.dumps(job.as_dict()) + "\n")
        process.stdin.flush()
    return _Running(job, process, log)


def _end(running: list[_Running]) -> None:
    """Tell all processes to save and stop, and wait for them."""
    for one in running:
        one.process.terminate()
    for one in running:
        one.process.wait()
    running.clear()
