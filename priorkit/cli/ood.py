"""`priorkit ood`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from priorkit.cli.loading import load_libraries
from priorkit.cli.runs import Run
from priorkit.cli.wrapping import echo

__all__ = ["ood"]


def ood(
    run: Run,
    ood: Annotated[
        list[str],
        typer.Option(
            help="Out-of-distribution data: a data set, or ood:interpolated, ood:blurred, ood:contrast, ood:constant."
        ),
    ],
    layers: Annotated[
        str, typer.Option(help="Layers of the score: all for curves over top:k, or one of top:k, bottom:k, 0,2,5.")
    ] = "all",
    scores: Annotated[str, typer.Option(help="Scores: all, or names separated by commas: log_ratio,elbo,nearest.")] = "all",
    images: Annotated[int, typer.Option(min=10, help="Largest number of images per data set.")] = 1_000,
    draws: Annotated[int, typer.Option(min=1, help="Posterior samples per image; a score is their mean.")] = 1,
    neighbours: Annotated[int, typer.Option(min=1, help="k of `nearest`: distance to the k-th nearest training image.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of posterior samples, draws and bootstrap.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print only one JSON object.")] = False,
    out: Annotated[Path | None, typer.Option(help="Picture of the curves to write, .png or .svg.")] = None,
    devices: Annotated[int, typer.Option(min=1, help="Number of processes on this machine.")] = 1,
) -> None:
    """Detect out-of-distribution data with the scores of a run."""
    load_libraries()
    from contextlib import nullcontext

    from priorkit.cli.saying import say
    from priorkit.engine.launch import launch, leading
    from priorkit.errors import UsageError
    from priorkit.registry.isolation import silenced
    from priorkit.report.console import plain_console
    from priorkit.report.detection import curves, layer_table, measure_table
    from priorkit.report.fitting import Fitting
    from priorkit.report.pictures import write_figure
    from priorkit.report.progress import showing
    from priorkit.runs.checksummed_json import with_seal
    from priorkit.workflows.measuring.ood import detect
    from priorkit.workflows.measuring.ood_scores import SCORES, chosen_scores
    from priorkit.workflows.session import open_run, share_work

    if out is not None and out.suffix.lower() not in (".png", ".svg"):
        raise UsageError(f"--out {out}: the name must end in .png or .svg.")
    asked = chosen_scores(scores)
    if launch(devices):
        return
    quiet = silenced() if as_json else nullcontext()
    with quiet, showing(plain_console(stderr=True), quiet=as_json or not leading()) as progress:
        session = open_run(run, progress=progress)
        with share_work(session):
            found = detect(
                session, ood, layers=layers, scores=asked, images=images, repeats=draws, neighbours=neighbours, seed=seed,
                progress=progress,
            )  # fmt: skip
    if not session.is_main:
        return
    tables = {item.data: {(one.name, one.layers): one.estimates for one in item.detected} for item in found}
    config = session.config
    if as_json:
        described = {"run": str(run), "backbone": config.backbone.name, "prior": config.prior.name, "data": config.data.name}
        sets = {item.data: item.as_dict() for item in found}
        typer.echo(json.dumps(with_seal({**described, "seed": seed, "meaning": SCORES, "ood": sets})))
    else:
        console = plain_console()
        for item in found:
            console.print(Fitting(layer_table(item.data, tables[item.data])))
            console.print(Fitting(measure_table(item.data, tables[item.data])))
            say(console, item.protocol)
    if out is not None:  # last, so that a picture that cannot be written costs no figure
        write_figure(curves(tables), out)
        if not as_json:
            echo(f"wrote {out}")
