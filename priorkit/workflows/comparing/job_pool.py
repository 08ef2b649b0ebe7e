"""Carrying out jobs, several at once, each in a process of its own.

Its own process gives each run a fresh memory to be measured, keeps a crash to one line of the table, and lets small
models use several cores.  A signal is passed on once: every run saves its state, and the same command goes on.
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
from priorkit.errors import InterruptedRunError, PriorkitError
from priorkit.workflows.comparing.plan import Job
from priorkit.workflows.comparing.run_job import carry_out, finished

__all__ = ["default_workers", "execute"]

MAX_WORKERS = 4
"""Runs at once where nothing is said; each holds its own data and model."""
LOOK = 0.1
"""Seconds between two looks at the processes."""
LAST_WORDS = 500
"""Characters of a dead process's log that are told."""


def default_workers(jobs: Sequence[Job]) -> int:
    """One a core up to four; one where the runs share an accelerator."""
    on_cpu = all(ProcessContext.find(job.config.engine.device).device.type == "cpu" for job in jobs)
    return max(1, min(cores(), MAX_WORKERS)) if on_cpu else 1


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def execute(
    jobs: Sequence[Job], *, workers: int | None = None, title: str = "runs", progress: Progress = no_progress
) -> dict[Path, str]:
    """Carry out what is not finished; gives the folders of the jobs that failed, and why.

    `workers` processes at once; with 0 one job after the other in this process.  Raises InterruptedRunError after a signal.
    """
    left = [job for job in jobs if not finished(job)]
    if not left:
        return {}
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
    """The job on that many threads, unless its configuration says how many."""
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
        """Why the process failed; empty where it did not."""
        told = self.process.stdout.read() if self.process.stdout else ""
        if self.process.returncode == 0:
            return ""
        if problem := next(filter(None, map(_outcome, reversed(told.splitlines()))), ""):
            return problem
        self.log.seek(0)
        return f"the process ended with code {self.process.returncode}: {self.log.read()[-LAST_WORDS:].strip()}"


def _outcome(line: str) -> str:
    """The problem that a line of a worker's output tells; empty for a line that a plugin wrote while the process ended."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return ""
    return str(found.get("problem", "")) if isinstance(found, dict) else ""


def _outcomes(jobs: Sequence[Job], workers: int, stop: StopRequest) -> Iterator[tuple[Job, str]]:
    """Each job and its problem, as they end."""
    waiting, running = list(jobs), list[_Running]()
    # The processes end before their files are closed: one whose input ends takes its parent for dead.
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
    # A session of its own: Ctrl-C must reach it once, through this process, and not from the terminal too.
    process = subprocess.Popen(
        [sys.executable, "-m", "priorkit.workflows.comparing.worker"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, errors="replace",
        start_new_session=True,
    )  # fmt: skip
    for pipe in filter(None, (process.stdin, process.stdout)):
        stack.enter_context(pipe)
    if process.stdin is not None:
        process.stdin.write(json.dumps(job.as_dict()) + "\n")
        process.stdin.flush()
    return _Running(job, process, log)


def _end(running: list[_Running]) -> None:
    """Ask all to save and stop, and wait for it."""
    for one in running:
        one.process.terminate()
    for one in running:
        one.process.wait()
    running.clear()
