"""`priorkit export`."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["export"]


def export(
    format_name: Annotated[str, typer.Argument(metavar="FORMAT", help="The file's format, such as nvae.")],
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
) -> None:
    """Write a run's backbone as another program's checkpoint."""
    from priorkit.report.console import plain_console
    from priorkit.report.progress import showing
    from priorkit.workflows.sharing.export_run import export_run

    with showing(plain_console(stderr=True)) as progress:
        export_run(format_name, run, out, progress=progress)
    typer.echo(f"wrote {out}")
