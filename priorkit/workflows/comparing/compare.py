"""Comparison of priors: train missing runs or read given ones, collect, write compare.json, compare.csv and compare.html."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from priorkit.config import RunConfig
from priorkit.core import Progress, no_progress
from priorkit.errors import PriorkitError, UsageError
from priorkit.report.comparison import Comparison
from priorkit.runs.folder import RunFolder
from priorkit.workflows.comparing import plan
from priorkit.workflows.comparing.budget import longer_pilot, steps_within
from priorkit.workflows.comparing.differences import same_backbone
from priorkit.workflows.comparing.gather import gather
from priorkit.workflows.comparing.job_pool import execute
from priorkit.workflows.comparing.launched import Launched
from priorkit.workflows.comparing.pages import write_comparison_page
from priorkit.workflows.comparing.plan import Base, Job, Request, bases, pilot_job, prior_job
from priorkit.workflows.comparing.record import write_record
from priorkit.workflows.comparing.run_job import finished, pilot_seconds
from priorkit.workflows.comparing.run_record import RunRecord
from priorkit.wrapping import WrappedBackbone

__all__ = ["compare_priors", "compare_runs"]

log = logging.getLogger(__name__)

Execute = Callable[..., dict[Path, str]]
"""Runs jobs under a title, as `execute` does."""


def compare_priors(request: Request, *, workers: int | None = None, progress: Progress = no_progress) -> Comparison | None:
    """Train the priors on a shared backbone, unless their runs exist already, and compare them.

    Raises UsageError for unknown options and for a failed backbone, before a prior is trained; if a prior fails later, only
    its row is affected. After an interruption, the same request continues. Processes of torchrun divide the runs; returns
    None on all of them except the main one.
    """
    with Launched.joined() as launched:
        if workers == 0 and launched.world.size > 1:
            raise UsageError("--jobs 0: started with torchrun, compare needs a process for each run; leave it out.")
        found, done, failed = _carried_out(request, partial(execute, workers=workers, progress=progress, launched=launched))
    if not launched.is_main:
        return None
    runs = [RunRecord.read(job.folder, f"runs/{job.folder.name}", row=job.row) for job in done]
    return _finish(runs, failed, _setting(request, found), request.out, progress)


def _carried_out(request: Request, run: Execute) -> tuple[list[Base], list[Job], dict[str, str]]:
    """Return the trained backbones, the finished jobs in the order of their rows, and the failed rows with the reasons."""
    found = bases(request)
    told: dict[Path, str] = {}
    for prior in request.priors:  # a misspelt option must be found before the backbone is trained
        twin = told.setdefault(prior_job(request, found[0], prior, 0, None).folder, prior)
        if twin != prior:
            raise UsageError(
                f"--priors: {twin} and {prior} have equal options; give one its own with --set {prior}:KEY=VALUE."
            )
    _ready(found, run)
    failed: dict[str, str] = {}
    steps = _budgeted(request, found[0], failed, run)
    seeds = range(request.seeds)
    jobs = [
        prior_job(request, base, prior, seed, steps[prior])
        for seed in seeds for base in found for prior in request.priors if prior in steps
    ]  # fmt: skip
    for folder, problem in run(jobs, title="priors").items():
        job = next(job for job in jobs if job.folder == folder)
        failed[job.row] = f"seed {job.config.seed}: {problem}"
        log.warning("%s, %s", job.row, failed[job.row])
    done = sorted((job for job in jobs if finished(job)), key=lambda job: request.priors.index(job.row))
    if not done:
        raise UsageError(f"compare: no run succeeded; the first failure: {next(iter(failed.values()))}")
    return found, done, failed


def compare_runs(
    paths: Sequence[Path],
    out: Path,
    *,
    wrapped: Mapping[Path, WrappedBackbone] | None = None,
    progress: Progress = no_progress,
) -> Comparison:
    """Compare finished runs. Metrics with different protocols are shown with a warning and are not ranked; `wrapped` are the
    VAEs of the user's own code, by the folder of their run."""
    names = _names(paths)
    runs = [RunRecord.read(path, name, (wrapped or {}).get(path)) for path, name in zip(paths, names, strict=True)]
    setting = {
        "data": ", ".join(sorted({_bare(run.config.data.name) for run in runs})),
        "backbone": ", ".join(sorted({run.config.backbone.name for run in runs})),
        "runs": f"{len(runs)} finished runs",
    }
    return _finish(runs, {}, setting, out, progress)


def _finish(
    runs: list[RunRecord], failed: Mapping[str, str], setting: Mapping[str, str], out: Path, progress: Progress
) -> Comparison:
    told = {"backbone weights": "identical in all runs (equal checksums)"} if same_backbone(runs) else {}
    comparison = gather(runs, failed, {**setting, **told})
    write_record(comparison, out)
    write_comparison_page(comparison, runs, out / "compare.html", progress=progress)
    return comparison


def _ready(found: Sequence[Base], run: Execute) -> None:
    """Train the missing backbones."""
    jobs = [Job(base.folder, base.config, samples=2_000, row="backbone") for base in found if not base.trained]
    for problem in run(jobs, title="backbones").values():
        raise UsageError(f"compare: the backbone could not be trained. {problem}")


def _budgeted(request: Request, base: Base, failed: dict[str, str], run: Execute) -> dict[str, int | None]:
    """Return the training steps of each prior, None for the trainer's default; priors whose pilots fail are left out."""
    budget = request.budget
    if budget is None or budget.kind == "steps":
        return dict.fromkeys(request.priors, None if budget is None else int(budget.amount))
    timed: dict[str, list[tuple[int, float]]] = {prior: [] for prior in request.priors}

    def time_pilots(steps: Sequence[tuple[str, int]]) -> None:
        jobs = [pilot_job(request, base, prior, number) for prior, number in steps]
        problems = run(jobs, title="pilots")
        for job in jobs:
            if job.folder in problems:
                failed[job.row] = problems[job.folder]
            else:
                timed[job.row].append(pilot_seconds(job))

    time_pilots([(prior, number) for prior in request.priors for number in plan.PILOT_STEPS])
    pairs = {prior: (found[0], found[1]) for prior, found in timed.items() if len(found) == 2}
    learning = {prior: pair for prior, pair in pairs.items() if pair[1][1] > 0}
    longer = {prior: longer_pilot(budget.amount, pair) for prior, pair in learning.items()}
    time_pilots([(prior, number) for prior, number in longer.items() if number is not None])
    steps: dict[str, int | None] = dict.fromkeys(pairs)
    for prior in (prior for prior in learning if prior not in failed):
        try:
            steps[prior] = steps_within(budget.amount, (timed[prior][-2], timed[prior][-1]))
        except PriorkitError as error:
            failed[prior] = str(error)
    return {prior: number for prior, number in steps.items() if prior not in failed}


def _setting(request: Request, found: Sequence[Base]) -> dict[str, str]:
    config = found[0].config
    counted = f"{len(found)} backbone{'s' * (len(found) > 1)}, {request.seeds} seed{'s' * (request.seeds > 1)} on each"
    return {
        "data": _bare(config.data.name),
        "backbone": config.backbone.name,
        "runs": counted,
        "samples": f"{request.samples:,} per metric",
        "budget": "the trainer's default steps" if request.budget is None else f"{request.budget}, of the prior's training",
        "backbone training": _backbone_seconds(found),
    }


def _backbone_seconds(found: Sequence[Base]) -> str:
    """Return the training time of the shared backbones."""
    spent = [RunRecord.read(base.folder).summary["cost"]["seconds"].get("backbone") for base in found if not base.trained]
    return ", ".join(f"{seconds:.0f} s" for seconds in spent if seconds is not None) or "of a run that was given"


def _names(paths: Sequence[Path]) -> list[str]:
    """Return the folders' names, with their parent folders if two are equal."""
    for path in paths:
        RunConfig.read(RunFolder.existing(path).config)
    resolved = [path.resolve() for path in paths]
    twice = [path for path, place in zip(paths, resolved, strict=True) if resolved.count(place) > 1]
    if twice:
        raise UsageError(f"compare: {twice[-1]} is given twice; give each run once.")
    for depth in range(1, 1 + max(len(path.parts) for path in resolved)):
        names = ["/".join(path.parts[-depth:]) for path in resolved]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _bare(data: str) -> str:
    """Return a data set's name without the folders of its file."""
    kind, colon, rest = data.partition(":")
    return f"{kind}:{Path(rest).name}" if colon and "/" in rest else data.rpartition("/")[2]
