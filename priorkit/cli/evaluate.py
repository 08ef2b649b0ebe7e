"""`priorkit evaluate`."""

import json
from typing import Annotated, Any

import typer

from priorkit.cli.loading import load_libraries
from priorkit.cli.runs import Run

__all__ = ["evaluate"]


def evaluate(
    run: Run,
    metrics: Annotated[
        str,
        typer.Option(
            help="Metric groups, separated by commas: reconstruction, elbo, logz, gap, energy_distance, sliced_wasserstein, "
            "fd, hole, copying, coverage, kernel, fidelity, nll, chains, hole_nats; or those of a plugin."
        ),
    ] = "all",
    samples: Annotated[int, typer.Option(min=10, help="Samples per prior; compare only results with equal counts.")] = 2_000,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the samples.")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps per chain [the run's].")] = None,
    sampler: Annotated[str | None, typer.Option(help="Another sampler, with its default options [the run's].")] = None,
    features: Annotated[
        str | None,
        typer.Option(
            help="Features of `fidelity`, `copying`, `coverage` and `kernel`: auto, inception, dinov2, clip, digits, "
            "fashion, cifar, a plugin, FILE or module:function."
        ),
    ] = None,
    feature_weights: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Weights of the feature network, or `download` for inception, dinov2 and clip."),
    ] = None,
    set_: Annotated[
        list[str],
        typer.Option(
            "--set", metavar="KEY=VALUE", help="An option of the section fidelity, such as fidelity.split=heldout."
        ),
    ] = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="Print only one JSON object.")] = False,
    protocols: Annotated[bool, typer.Option("--protocols", help="Print how each metric was computed, too.")] = False,
    devices: Annotated[int, typer.Option(min=1, help="Number of processes on this machine.")] = 1,
) -> None:
    """Compute the metrics of a run again."""
    load_libraries()
    from contextlib import nullcontext

    from priorkit.cli.saying import say
    from priorkit.config import adjusted_fidelity
    from priorkit.engine.launch import launch, leading
    from priorkit.errors import UsageError
    from priorkit.registry.isolation import silenced
    from priorkit.report.console import plain_console
    from priorkit.report.fitting import Fitting
    from priorkit.report.headline import headline
    from priorkit.report.hole_table import hole_table
    from priorkit.report.progress import showing
    from priorkit.report.table import backbone_table, prior_table, protocol_table
    from priorkit.workflows.measuring.evaluate import chosen_metrics, measure
    from priorkit.workflows.sampling.sample import with_sampler
    from priorkit.workflows.session import open_run, share_work

    groups = chosen_metrics(metrics)
    unheard = {"--features": features, "--feature-weights": feature_weights, "--set": set_ or None}
    users = {"fidelity", "copying", "coverage", "kernel"}
    if not users & {*groups} and (given := [name for name, value in unheard.items() if value is not None]):
        raise UsageError(
            f"{', '.join(given)}: only for the metrics `fidelity`, `copying`, `coverage` and `kernel`, which --metrics "
            f"{metrics} leaves out; add one of them to it."
        )
    if launch(devices):
        return
    quiet = silenced() if as_json else nullcontext()
    with quiet, showing(plain_console(stderr=True), quiet=as_json or not leading()) as progress:
        session = open_run(run, progress=progress)
        fidelity = adjusted_fidelity(session.config, set_, features=features, weights=feature_weights)
        model, data = with_sampler(session.model, sampler, steps), session.data
        with share_work(session):
            figures = measure(model, data, metrics=groups, samples=samples, seed=seed, fidelity=fidelity, progress=progress)
    if not session.is_main:
        return
    config = session.config
    used = sampler or config.sampler.name
    if as_json:
        described: dict[str, Any] = {"run": str(run), "data": config.data.name}
        described |= {kind: getattr(config, kind).name for kind in ("backbone", "prior")}
        described["sampler"] = {"name": used, **model.sampler.settings.model_dump(mode="json")}
        typer.echo(json.dumps({**described, "metrics": {name: figure.as_dict() for name, figure in figures.items()}}))
        return
    console = plain_console()
    if sampler or steps:
        say(console, f"Samples of {used}{f' with {steps} steps' if steps else ''}, not of the run's own sampler.")
    tables = [prior_table(figures), hole_table(figures), backbone_table(figures)]
    if any(name.startswith(("fd_", "nll", "gap_auc", "energy_distance", "elbo_prior")) for name in figures):
        say(console, headline(figures, prior=config.prior.name))
    for table in [*tables, *([protocol_table(figures)] if protocols else [])]:
        if table is not None and table.row_count:
            console.print(Fitting(table))
