"""One job: read if it is done, gone on with if it was begun, else begun."""

from priorkit.config import RunConfig
from priorkit.core import Progress, no_progress
from priorkit.runs.folder import RunFolder
from priorkit.runs.records import PILOT, SUMMARY, read_pilot
from priorkit.runtime.atomic_files import write_json
from priorkit.workflows.comparing.plan import Job
from priorkit.workflows.training.train import fit, train

__all__ = ["carry_out", "finished", "pilot_seconds"]


def finished(job: Job) -> bool:
    """True where the job's last file is written."""
    return (job.folder / (PILOT if job.samples is None else SUMMARY)).is_file()


def carry_out(job: Job, progress: Progress = no_progress) -> None:
    """Do what is left of a job; raises what `train` raises."""
    if finished(job):
        return
    folder = RunFolder(job.folder)
    resume = folder.config.is_file()
    if resume:
        RunFolder.existing(job.folder)
    # A begun run keeps its own configuration: its threads may be others than this time's.
    config = RunConfig.read(folder.config) if resume else job.config
    source = None if resume else job.source
    if job.samples is not None:
        train(
            config, job.folder, resume=resume, source=source, samples=job.samples, sample_seed=job.sample_seed,
            progress=progress,
        )  # fmt: skip
    elif (state := fit(config, job.folder, resume=resume, source=source, progress=progress)) is not None:
        seconds = sum(spent for phase, spent in state.seconds.items() if phase.startswith("prior"))
        write_json(job.folder / PILOT, {"seconds": seconds, "steps": config.trainer.options["prior_steps"]})
        folder.close()


def pilot_seconds(job: Job) -> tuple[int, float]:
    """Steps and seconds of a finished pilot.  Raises UsageError where their record is damaged."""
    return read_pilot(job.folder)
