"""`priorkit train`."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from priorkit.cli.loading import load_libraries
from priorkit.cli.runs import Source

__all__ = ["train"]

Name = str | None

SHORTER = "; `--minutes M` chooses steps that fit into M minutes"


def train(
    backbone: Annotated[Name, typer.Option(help="Backbone: the hierarchical generator [nvae].")] = None,
    prior: Annotated[Name, typer.Option(help="Prior: the distribution over u [multistage].")] = None,
    sampler: Annotated[Name, typer.Option(help="Sampler of the prior [mala].")] = None,
    trainer: Annotated[Name, typer.Option(help="Training scheme [two-phase].")] = None,
    data: Annotated[
        Name, typer.Option(help="Data set: a name, zip:FILE, folder:DIR, stream:PLACE or toy:NAME [digits].")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with options.")] = None,
    set_: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="An option, such as prior.stages=4.")] = [],  # noqa: B006
    source: Source = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run [runs/DATA-BACKBONE-PRIOR].")] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed [0].")] = None,
    precision: Annotated[Name, typer.Option(help="Floating-point precision: 32 or bf16 [32].")] = None,
    devices: Annotated[int | None, typer.Option(min=1, help="Number of processes on this machine [1].")] = None,
    nodes: Annotated[
        int | None, typer.Option(min=1, help="Number of machines; start the command with torchrun on each [1].")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Resume the run in this folder.")] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            metavar="M",
            help="Minutes for the whole command; pilot runs choose the numbers of steps that fit (`--set minutes=M`).",
        ),
    ] = None,
    metrics: Annotated[
        Name,
        typer.Option(
            "--metrics",
            "--figures",
            help="Metrics at the end: none, quick (without gap, logz and others), or all [all; quick with --minutes].",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print how long the run will take, and exit.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the result.")] = False,
    protocols: Annotated[bool, typer.Option("--protocols", help="Print how each metric was computed, too.")] = False,
) -> None:
    """Train a backbone and a prior, compute metrics and draw pictures."""
    begun = time.monotonic()
    load_libraries()
    from priorkit.cli.terminal import announce, estimated, follow, tell
    from priorkit.config import resolve
    from priorkit.engine.launch import launch, leading
    from priorkit.errors import UsageError
    from priorkit.report.console import plain_console
    from priorkit.report.progress import showing
    from priorkit.runs.folder import RunFolder
    from priorkit.workflows.training.budget import plan_command
    from priorkit.workflows.training.train import from_run
    from priorkit.workflows.training.train import train as run
    from priorkit.workflows.training.train_model import default_folder

    flags: dict[str, Any] = {
        "backbone": backbone,
        "prior": prior,
        "sampler": sampler,
        "trainer": trainer,
        "data": data,
        "seed": seed,
    }
    flags |= {"precision": precision, "devices": devices, "nodes": nodes, "minutes": minutes, "metrics": metrics}
    if resume is not None:
        recorded = RunFolder.existing(resume).config
        own = {name: value for name, value in flags.items() if name not in ("devices", "nodes", "metrics")}
        refuse({**own, "config": config, "set": set_ or None, "from": source, "out": out, "dry-run": dry_run or None})
        settings = resolve(recorded, metrics=metrics)
    else:
        settings = resolve(
            config, from_run(source, set_, backbone=backbone, data=data, file=config) if source else set_, **flags
        )
    place = resume or out or default_folder(settings)
    plans = settings.minutes is not None or dry_run
    if plans and (devices or settings.engine.devices) * (nodes or settings.engine.nodes) > 1:
        raise UsageError("--minutes and --dry-run measure one process; leave out --devices and --nodes.")
    if launch(devices or settings.engine.devices, nodes or settings.engine.nodes):
        return
    console = plain_console(stderr=True)
    with showing(console, quiet=quiet or not leading()) as progress:
        opened = weights = None
        if plans:
            plan = plan_command(settings, place, begun, progress, source=source)
            estimated(plain_console(stderr=not dry_run), quiet and not dry_run)(plan)
            if dry_run:
                return
            settings, opened, weights = plan.config, plan.data, plan.backbone
        trained = run(
            settings, place, resume=resume is not None, source=source, data=opened, weights=weights, progress=progress,
            on_log=follow(console, quiet, progress), on_begin=announce(console, quiet),
            on_estimate=None if plans else estimated(console, quiet, SHORTER),
        )  # fmt: skip
    if trained is not None:
        tell(plain_console(), trained, protocols=protocols)


def refuse(options: Mapping[str, Any]) -> None:
    """Raise UsageError if any of the options is given together with --resume, which ignores it."""

    from priorkit.errors import UsageError

    given = [f"--{name}" for name, value in options.items() if value is not None]
    if given:
        raise UsageError(
            f"--resume continues a run with the options of its config.yaml; it does not accept {', '.join(given)}. "
            "Leave these out, or start a new run without --resume."
        )
