"""`priorkit export`."""

from pathlib import Path
from typing import Annotated

import typer

from priorkit.cli.runs import Run
from priorkit.cli.wrapping import echo

__all__ = ["export"]


def export(
    format_name: Annotated[str, typer.Argument(metavar="FORMAT", help="Format of the file, such as nvae.")],
    run: Run,
    out: Annotated[Path, typer.Option(help="File to write.")],
) -> None:
    """Write the backbone of a run as a checkpoint of another program."""
    from priorkit.report.console import plain_console
    from priorkit.report.progress import showing
    from priorkit.workflows.sharing.export_run import export_run

    with showing(plain_console(stderr=True)) as progress:
        export_run(format_name, run, out, progress=progress)
    echo(f"wrote {out}")
