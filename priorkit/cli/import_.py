"""`priorkit import`."""

from pathlib import Path
from typing import Annotated

import typer

from priorkit.cli.loading import load_libraries
from priorkit.cli.wrapping import echo

__all__ = ["import_"]


def import_(
    format_name: Annotated[str, typer.Argument(metavar="FORMAT", help="Format of the file, such as nvae.")],
    checkpoint: Annotated[Path, typer.Argument(help="File with the trained backbone.")],
    out: Annotated[Path, typer.Option(help="Folder of the new run.")],
    data: Annotated[
        str | None,
        typer.Option(help="Its training data: a name, zip:FILE, folder:DIR or stream:PLACE [as the file says]."),
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of torchvision's data sets [PRIORKIT_DATA].")] = None,
    readjust_bn: Annotated[
        bool, typer.Option("--readjust-bn", help="Recompute batch-norm statistics on samples of the Gaussian prior.")
    ] = False,
    passes: Annotated[int, typer.Option(min=1, help="Number of batches of 16 samples for --readjust-bn.")] = 500,
    temperature: Annotated[float, typer.Option(min=0.01, help="Temperature of the samples for --readjust-bn.")] = 1.0,
) -> None:
    """Create a run from a checkpoint of another program, with a Gaussian prior."""
    load_libraries()
    from priorkit.report.console import plain_console
    from priorkit.report.progress import showing
    from priorkit.workflows.sharing.import_run import Readjustment, import_run

    readjustment = Readjustment(passes, temperature) if readjust_bn else None
    with showing(plain_console(stderr=True)) as progress:
        for _ in progress([checkpoint], 1, f"importing {checkpoint.name}"):  # whose bar moves while nothing else does
            notes = import_run(
                format_name, checkpoint, out, data=data, root=root, readjust=readjustment, progress=progress
            )  # fmt: skip
    for note in notes:
        echo(f"note: {note}", err=True)
    echo(f"wrote {out}; train a prior on it with `priorkit train --from {out} --prior NAME`")
