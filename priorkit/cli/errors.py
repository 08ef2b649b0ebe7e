"""The one place where an error becomes a paragraph on standard error and an exit code.

0 done, 1 a defect of ours (with its traceback), 2 usage, 3 a plugin, 4 diverged, 5 another process of the run failed, 130
and 143 stopped by a signal.
"""

import errno
import os
import signal
import sys
import traceback
from typing import Any

import typer

from priorkit.cli.quick import QuickGroup
from priorkit.errors import PluginError, PriorkitError, said

__all__ = ["Commands"]

OF_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE)
"""What a write to standard output fails with; files' own errors name the file, and are told where they are written."""


class Commands(QuickGroup):
    """The top group of commands; every command runs inside its `invoke`."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run the command line; standard output that cannot be written to is told in a line."""
        try:
            try:
                return super().main(*arguments, **options)
            finally:
                if sys.stdout is not None:
                    sys.stdout.flush()
        except OSError as error:
            if error.filename is not None or error.errno not in OF_OUTPUT:
                raise
            _mute()
            if error.errno == errno.EPIPE:  # whoever read it has had enough
                sys.exit(1)
            typer.echo(f"priorkit: standard output cannot be written to ({error.strerror}).", err=True)
            sys.exit(2)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; a `PriorkitError` is told in a paragraph, with its traceback only after `--debug`."""
        try:
            return super().invoke(ctx)
        except PriorkitError as error:
            if ctx.params.get("debug"):
                typer.echo("".join(traceback.format_exception(error)), err=True)
            typer.echo(f"priorkit: {error}", err=True)
            if isinstance(error, PluginError) and error.__cause__ and not ctx.params.get("debug"):
                typer.echo("(priorkit --debug COMMAND shows where.)", err=True)
            raise typer.Exit(error.exit_code) from error
        except Exception as error:
            if not out_of_memory(error) or ctx.params.get("debug"):
                raise
            advice = "Ask for fewer samples or a smaller batch, take smaller networks, or leave other programs less of it."
            typer.echo(f"priorkit: memory does not suffice ({said(error)}). {advice}", err=True)
            raise typer.Exit(PriorkitError.exit_code) from error
        except KeyboardInterrupt as error:
            typer.echo("priorkit: aborted; what was saved before is whole.", err=True)
            raise typer.Exit(128 + signal.SIGINT) from error


def out_of_memory(error: Exception) -> bool:
    """Whether memory did not suffice; torch is not imported to know."""
    if "torch" not in sys.modules:
        return isinstance(error, MemoryError)
    from priorkit.core.memory import ran_out

    return ran_out(error)


def _mute() -> None:
    """Let the interpreter's own last flush of standard output succeed."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # it is no file of the system
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - open until the process ends
