"""`priorkit sample`."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["sample"]


def sample(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    out: Annotated[Path, typer.Option(help="Where to write: .png or .svg for a sheet, .npy for the array.")],
    n: Annotated[int | None, typer.Option(min=1, help="Number of samples, 64 by default; of a row, 8 by default.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same pictures, whatever n.")] = 0,
    temperature: Annotated[float, typer.Option(min=0.0, help="Scales the noise of every latent layer.")] = 1.0,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of the chain, instead of the run's own.")] = None,
    sampler: Annotated[str | None, typer.Option(help="Another sampler, with its default options.")] = None,
    progressive: Annotated[bool, typer.Option("--progressive", help="Show the samples after each stage.")] = False,
    trajectory: Annotated[bool, typer.Option("--trajectory", help="Show states along some chains.")] = False,
    interpolate: Annotated[
        bool, typer.Option("--interpolate", help="Show paths in u-space between pairs of held-out images.")
    ] = False,
    layers: Annotated[
        bool, typer.Option("--layers", help="Show prior against posterior in each layer: two projections and marginals.")
    ] = False,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]VALUE", help="Ask for a label, or 'each' for a row of each; may be given again."),
    ] = None,
    keep_top: Annotated[
        int | None, typer.Option(min=1, metavar="K", help="The samples of a row share the noise of the top K layers.")
    ] = None,
    tops: Annotated[int | None, typer.Option(min=1, help="Rows with --keep-top, each with other top layers [6].")] = None,
    devices: Annotated[int, typer.Option(min=1, help="Processes on this machine that share the work.")] = 1,
) -> None:
    """Draw samples from a run."""
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
        typer.echo(f"wrote {out}")
