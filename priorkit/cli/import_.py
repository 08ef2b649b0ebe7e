"""`priorkit import`."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["import_"]


def import_(
    format_name: Annotated[str, typer.Argument(metavar="FORMAT", help="The file's format, such as nvae.")],
    checkpoint: Annotated[Path, typer.Argument(help="The file with the trained backbone.")],
    out: Annotated[Path, typer.Option(help="The new run's folder.")],
    data: Annotated[
        str | None,
        typer.Option(help="What it was trained on: a set's name, zip:FILE, folder:DIR or stream:PLACE [as the file says]."),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder where torchvision's sets lie [PRIORKIT_DATA].")] = None,
    readjust_bn: Annotated[
        bool, typer.Option("--readjust-bn", help="Move batch-norm statistics to samples of the Gaussian prior.")
    ] = False,
    passes: Annotated[int, typer.Option(min=1, help="Batches of 16 samples that --readjust-bn draws.")] = 500,
    temperature: Annotated[float, typer.Option(min=0.01, help="Temperature of these samples.")] = 1.0,
) -> None:
    """Make a run of another program's checkpoint, with a Gaussian prior."""
    from priorkit.report.console import plain_console
    from priorkit.report.progress import showing
    from priorkit.workflows.sharing.import_run import Readjustment, import_run

    readjustment = Readjustment(passes, temperature) if readjust_bn else None
    with showing(plain_console(stderr=True)) as progress:
        notes = import_run(
            format_name, checkpoint, out, data=data, root=root, readjust=readjustment, progress=progress
        )  # fmt: skip
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"wrote {out}; go on with `priorkit train --from {out} --prior NAME`")
