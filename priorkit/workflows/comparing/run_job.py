"""Runs one job: read it if it is finished, resume it if it was started, else start it."""

from priorkit.config import RunConfig
from priorkit.core import Progress, no_progress
from priorkit.runs.folder import RunFolder
from priorkit.runs.records import PILOT, SUMMARY, read_pilot
from priorkit.runtime.atomic_files import write_json
from priorkit.workflows.comparing.plan import Job
from priorkit.workflows.measuring.evaluate import Evaluation
from priorkit.workflows.training.train import fit, train

__all__ = ["carry_out", "finished", "pilot_seconds"]


def finished(job: Job) -> bool:
    """Return True if the job's last file has been written."""
    return (job.folder / (PILOT if job.samples is None else SUMMARY)).is_file()


def carry_out(job: Job, progress: Progress = no_progress) -> None:
    """Do the remaining work of a job; raises what `train` raises."""
    if finished(job):
        return
    folder = RunFolder(job.folder)
    resume = folder.config.is_file()
    if resume:
        RunFolder.existing(job.folder)
    # A started run keeps its configuration: its number of threads may differ from the current one.
    config = RunConfig.read(folder.config) if resume else job.config
    source = None if resume else job.source
    if job.samples is not None:
        train(
            config, job.folder, resume=resume, source=source, evaluation=Evaluation(samples=job.samples),
            sample_seed=job.sample_seed, progress=progress,
        )  # fmt: skip
    elif (state := fit(config, job.folder, resume=resume, source=source, progress=progress)) is not None:
        seconds = sum(spent for phase, spent in state.seconds.items() if phase.startswith("prior"))
        write_json(job.folder / PILOT, {"seconds": seconds, "steps": config.trainer.options["prior_steps"]})
        folder.close()


def pilot_seconds(job: Job) -> tuple[int, float]:
    """Return steps and seconds of a finished pilot. Raises UsageError if their record is damaged."""
    return read_pilot(job.folder)
