"""The one place where an error becomes a paragraph on standard error and an exit code.

0 done, 1 a defect of ours (with its traceback), 2 usage, 3 a plugin, 4 diverged, 5 another process of the run failed, 130
and 143 stopped by a signal.
"""

import errno
import os
import signal
import sys
import traceback
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import typer

from priorkit.cli.quick import QuickGroup
from priorkit.errors import PluginError, PriorkitError, UsageError, said

__all__ = ["Commands"]

OF_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE)
"""What a write to standard output fails with; files' own errors name the file, and are told where they are written."""


OF_PLACES = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.EMFILE, errno.ENFILE, errno.ESTALE),
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
)
"""What the system refuses of any file or folder that it is asked for, and no code of ours can mend."""


class Commands(QuickGroup):
    """The top group of commands; every command runs inside its `invoke`."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run the command line; standard output that cannot be written to is told in a line."""
        for stream in (sys.stdout, sys.stderr):
            _take_all_text(stream)
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
            _see_current_folder()
            return super().invoke(ctx)
        except PriorkitError as error:
            if ctx.params.get("debug"):
                typer.echo("".join(traceback.format_exception(error)), err=True)
            typer.echo(f"priorkit: {error}", err=True)
            if isinstance(error, PluginError) and error.__cause__ and not ctx.params.get("debug"):
                typer.echo("(priorkit --debug COMMAND shows where.)", err=True)
            raise typer.Exit(error.exit_code) from error
        except (OSError, RuntimeError, MemoryError) as error:  # what may tell of the system's refusal or of little memory
            if ctx.params.get("debug"):
                raise
            if told := _refused(error):
                typer.echo(f"priorkit: {told}", err=True)
                raise typer.Exit(PriorkitError.exit_code) from error
            if not out_of_memory(error):
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
    from priorkit.runtime.memory import ran_out

    return ran_out(error)


def _see_current_folder() -> None:
    """Raise UsageError where the current folder was removed, in which torch's libraries would end the process."""
    try:
        Path.cwd()
    except OSError as error:
        told = "the current folder is not there any more; go to one that is, and give the command again."
        raise UsageError(told) from error


def _refused(error: Exception) -> str:
    """What the system does not let this process do, and how that is mended; empty where the error is another one."""
    if not isinstance(error, OSError):
        return ""
    if error.filename is None or error.errno not in OF_PLACES:
        return ""
    return f"{error.filename}: cannot be used ({error.strerror}). See to its rights, or name another place."


def _take_all_text(stream: object) -> None:
    """Let a stream take characters that its encoding lacks: a terminal without '±' must not cost the figures.

    The bytes of a file's name that are no UTF-8 are written as they are; in other encodings a question mark stands for what
    is missing.
    """
    if isinstance(stream, TextIOWrapper):
        is_utf8 = stream.encoding.lower().replace("-", "") == "utf8"
        stream.reconfigure(errors="surrogateescape" if is_utf8 else "replace")


def _mute() -> None:
    """Let the interpreter's own last flush of standard output succeed."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # it is no file of the system
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - open until the process ends
