"""`priorkit report`."""

from pathlib import Path
from typing import Annotated

import typer

from priorkit.cli.runs import Run
from priorkit.cli.wrapping import echo

__all__ = ["report"]


def report(
    run: Run,
    out: Annotated[Path, typer.Option(help="Page to write, .html.")],
) -> None:
    """Write a self-contained HTML page about a run."""
    from priorkit.errors import UsageError
    from priorkit.workflows.comparing.run_page import write_run_page
    from priorkit.workflows.comparing.run_record import RunRecord

    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--out {out}: the name must end in .html.")
    write_run_page(RunRecord.read(run), out)
    echo(f"wrote {out}")
