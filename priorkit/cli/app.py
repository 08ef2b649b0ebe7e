"""The command `priorkit` and its global options.

Nothing here or in the modules of the commands imports torch at their top: `priorkit --help` must answer at once.
"""

import os
from typing import Annotated

import typer

from priorkit import __version__
from priorkit.cli.compare import compare
from priorkit.cli.errors import Commands
from priorkit.cli.evaluate import evaluate
from priorkit.cli.export import export
from priorkit.cli.import_ import import_
from priorkit.cli.ood import ood
from priorkit.cli.plugins import plugins
from priorkit.cli.push import push
from priorkit.cli.quick import QuickCommand
from priorkit.cli.report import report
from priorkit.cli.sample import sample
from priorkit.cli.train import train
from priorkit.cli.zoo import zoo

__all__ = ["app", "main"]

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train", cls=QuickCommand)(train)
app.command("compare", cls=QuickCommand)(compare)
app.command("sample", cls=QuickCommand)(sample)
app.command("evaluate", cls=QuickCommand)(evaluate)
app.command("ood", cls=QuickCommand)(ood)
app.command("report", cls=QuickCommand)(report)
app.command("import", cls=QuickCommand)(import_)
app.command("export", cls=QuickCommand)(export)
app.command("push", cls=QuickCommand)(push)
app.add_typer(plugins, name="plugins")
app.add_typer(zoo, name="zoo")


def show_version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        typer.echo(f"priorkit {__version__}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of every error.")]


@app.callback()
def options(version: Version = False, debug: Debug = False) -> None:
    """Interchangeable priors for hierarchical latent-variable generators."""


def main() -> None:
    """The console script."""
    # No window is ever opened, and a backend that is not there would end matplotlib's import.
    os.environ["MPLBACKEND"] = "agg"
    app(prog_name="priorkit")
