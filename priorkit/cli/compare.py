"""`priorkit compare`."""

from pathlib import Path
from typing import Annotated

import typer

from priorkit.cli.loading import load_libraries
from priorkit.cli.runs import Runs, Source
from priorkit.cli.wrapping import echo

__all__ = ["compare"]

Name = str | None


def compare(
    out: Annotated[Path, typer.Option(help="Folder of the comparison; the same command continues an interrupted one.")],
    runs: Runs = None,
    backbone: Annotated[Name, typer.Option(help="Backbone, trained once and shared by all priors [nvae].")] = None,
    priors: Annotated[
        Name,
        typer.Option(help="Priors to train on it, separated by commas; PRIOR/NAME: a further row, with its own options."),
    ] = None,
    data: Annotated[
        Name, typer.Option(help="Data set: a name, zip:FILE, folder:DIR, stream:PLACE or toy:NAME [digits].")
    ] = None,
    source: Source = None,
    sampler: Annotated[Name, typer.Option(help="Sampler of the priors [mala].")] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Seeds per backbone, each for the prior's training and its samples.")
    ] = 1,
    backbone_seeds: Annotated[int, typer.Option(min=1, help="Number of backbones, each trained with its own seed.")] = 1,
    budget: Annotated[Name, typer.Option(help="Training budget per prior: steps:N or seconds:S [the trainer's].")] = None,
    set_: Annotated[
        list[str],
        typer.Option("--set", metavar="[ROW:]KEY=VALUE", help="An option for all runs, or for those of one row."),
    ] = [],  # noqa: B006
    samples: Annotated[int, typer.Option(min=10, help="Samples per metric.")] = 2_000,
    jobs: Annotated[
        int | None,
        typer.Option(min=0, help="Runs in parallel, one process each; 0: in this process [one per core, up to 4]."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print only the contents of compare.json.")] = False,
) -> None:
    """Compare priors: train missing runs on a shared backbone, or read finished runs."""
    load_libraries()
    import json
    from contextlib import nullcontext

    from priorkit.cli.saying import say
    from priorkit.engine.launch import leading
    from priorkit.errors import UsageError
    from priorkit.registry.isolation import silenced
    from priorkit.report.comparison_headline import comparison_headline
    from priorkit.report.comparison_table import comparison_tables
    from priorkit.report.console import plain_console
    from priorkit.report.fitting import Fitting
    from priorkit.report.progress import showing
    from priorkit.workflows.comparing import Request, compare_priors, compare_runs
    from priorkit.workflows.comparing.budget import Budget

    if bool(runs) == bool(priors):
        raise UsageError("compare: give either finished runs, or priors to train with --priors.")
    quiet = as_json or not leading()
    with silenced() if as_json else nullcontext(), showing(plain_console(stderr=True), quiet=quiet) as progress:
        if runs:
            flags = {
                "--backbone": backbone, "--data": data, "--from": source, "--sampler": sampler, "--budget": budget,
                "--set": set_ or None, "--seeds": None if seeds == 1 else seeds,
                "--backbone-seeds": None if backbone_seeds == 1 else backbone_seeds,
                "--samples": None if samples == 2_000 else samples, "--jobs": jobs,
            }  # fmt: skip
            if given := [name for name, value in flags.items() if value is not None]:
                raise UsageError(f"compare: finished runs are read with their own options; leave out {', '.join(given)}.")
            found = compare_runs(runs, out, progress=progress) if leading() else None
        else:
            named = [name.strip() for name in (priors or "").split(",") if name.strip()]
            request = Request(
                out, named, backbone, data, source, sampler, seeds, backbone_seeds,
                None if budget is None else Budget.read(budget), set_, samples,
            )  # fmt: skip
            found = compare_priors(request, workers=jobs, progress=progress)
    if found is None:  # the main process alone writes and prints
        return
    if as_json:
        typer.echo(json.dumps(found.as_dict()))
        return
    console = plain_console()
    say(console, comparison_headline(found))
    for table in comparison_tables(found):
        console.print(Fitting(table))
    for told in (*found.warnings, f"± is the {found.setting['spread']}.", f"The rank is {found.setting['rank']}."):
        say(console, told)
    echo(f"wrote {out}/compare.html, compare.json and compare.csv")
