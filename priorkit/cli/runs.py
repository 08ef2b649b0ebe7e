"""Runs as arguments of commands: a folder, or `zoo:NAME`."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Run", "Runs", "Source"]


def run_folder(text: str) -> Path:
    """Return the folder of a run given on the command line. Raises UsageError for a name that is not in the zoo."""
    from priorkit.zoo import given_run

    return given_run("RUN", text)


Run = Annotated[Path, typer.Argument(parser=run_folder, metavar="RUN", help="Folder of a finished run, or zoo:NAME.")]
Runs = Annotated[
    list[Path] | None, typer.Argument(parser=run_folder, metavar="[RUN]...", help="Finished runs to read, or zoo:NAME.")
]
Source = Annotated[
    Path | None,
    typer.Option("--from", parser=run_folder, metavar="RUN", help="Use the trained backbone of this run, or of zoo:NAME."),
]
