"""`priorkit sample`."""

from pathlib import Path
from typing import Annotated

import typer

from priorkit.cli.loading import load_libraries
from priorkit.cli.runs import Run
from priorkit.cli.wrapping import echo

__all__ = ["sample"]


def sample(
    run: Run,
    out: Annotated[Path, typer.Option(help="File to write: .png or .svg for a picture, .npy for an array.")],
    n: Annotated[
        int | None, typer.Option(min=1, help="Number of samples [64]; in a picture of rows, samples per row [8].")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed; the samples of a seed do not depend on --n.")] = 0,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="Temperature: factor on the noise of every latent layer.")
    ] = 1.0,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps per chain [the run's].")] = None,
    sampler: Annotated[str | None, typer.Option(help="Another sampler, with its default options [the run's].")] = None,
    progressive: Annotated[bool, typer.Option("--progressive", help="Show samples after each stage.")] = False,
    trajectory: Annotated[bool, typer.Option("--trajectory", help="Show states along several chains.")] = False,
    interpolate: Annotated[
        bool, typer.Option("--interpolate", help="Show paths in u-space between pairs of held-out images.")
    ] = False,
    layers: Annotated[
        bool,
        typer.Option("--layers", help="Show prior and posterior of each layer: two-dimensional projections and marginals."),
    ] = False,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]VALUE", help="Label of the samples, or 'each' for one row per label."),
    ] = None,
    keep_top: Annotated[
        int | None, typer.Option(min=1, metavar="K", help="Share the noise of the top K layers among the samples of a row.")
    ] = None,
    tops: Annotated[
        int | None, typer.Option(min=1, help="Number of rows with --keep-top, each with its own top layers [6].")
    ] = None,
    devices: Annotated[int, typer.Option(min=1, help="Number of processes on this machine.")] = 1,
) -> None:
    """Draw samples from the prior of a run."""
    load_libraries()
    from priorkit.engine.launch import launch, leading
    from priorkit.report.console import plain_console
    from priorkit.report.progress import showing
    from priorkit.workflows.sampling.conditions import Asked
    from priorkit.workflows.sampling.sample import with_sampler, write_samples
    from priorkit.workflows.session import open_run, share_work

    asked = Asked(label or (), keep_top, tops)
    if launch(devices):
        return
    with showing(plain_console(stderr=True), quiet=not leading()) as progress:
        session = open_run(run, progress=progress)
        session.model = with_sampler(session.model, sampler, steps)
        with share_work(session):
            write_samples(
                session, out, n, seed=seed, temperature=temperature, progressive=progressive, trajectory=trajectory,
                interpolate=interpolate, layers=layers, asked=asked if asked != Asked() else None, progress=progress,
            )  # fmt: skip
    if session.is_main:
        echo(f"wrote {out}")
