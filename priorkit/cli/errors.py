"""Converts errors to a paragraph on standard error and an exit code.

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
from priorkit.cli.wrapping import echo
from priorkit.errors import PluginError, PriorkitError, UsageError, said

__all__ = ["Commands"]

OF_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE)
"""Errors of a write to standard output; the code that writes files reports their errors, with the file's name."""


OF_PLACES = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.EMFILE, errno.ENFILE, errno.ESTALE),
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
)
"""Errors of the operating system about a file or folder."""


class Commands(QuickGroup):
    """The top group of commands; every command runs inside its `invoke`."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run the command line; report standard output that cannot be written to in one line."""
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
            echo(f"priorkit: cannot write to standard output ({error.strerror}).", err=True)
            sys.exit(2)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; report a `PriorkitError` as one paragraph, with the traceback only if `--debug` is given."""
        try:
            _see_current_folder()
            return super().invoke(ctx)
        except PriorkitError as error:
            if ctx.params.get("debug"):
                typer.echo("".join(traceback.format_exception(error)), err=True)
            echo(f"priorkit: {error}", err=True)
            if isinstance(error, PluginError) and error.__cause__ and not ctx.params.get("debug"):
                echo("(priorkit --debug COMMAND shows the traceback.)", err=True)
            raise typer.Exit(error.exit_code) from error
        except (OSError, RuntimeError, MemoryError) as error:  # what may tell of the system's refusal or of little memory
            if ctx.params.get("debug"):
                raise
            if told := _refused(error):
                echo(f"priorkit: {told}", err=True)
                raise typer.Exit(PriorkitError.exit_code) from error
            if not out_of_memory(error):
                raise
            advice = "Use fewer samples, a smaller batch or smaller networks, or close other programs."
            echo(f"priorkit: out of memory ({said(error)}). {advice}", err=True)
            raise typer.Exit(PriorkitError.exit_code) from error
        except KeyboardInterrupt as error:
            echo("priorkit: aborted; files saved before are complete.", err=True)
            raise typer.Exit(128 + signal.SIGINT) from error


def out_of_memory(error: Exception) -> bool:
    """Whether memory did not suffice; torch is not imported to know."""
    if "torch" not in sys.modules:
        return isinstance(error, MemoryError)
    from priorkit.runtime.memory import ran_out

    return ran_out(error)


def _see_current_folder() -> None:
    """Raise UsageError if the current folder was removed: torch's libraries would end the process there."""
    try:
        Path.cwd()
    except OSError as error:
        told = "the current folder does not exist any more; change to another folder and run the command again."
        raise UsageError(told) from error


def _refused(error: Exception) -> str:
    """What the system does not allow this process to do, with advice; empty for other errors."""
    if not isinstance(error, OSError):
        return ""
    if error.filename is None or error.errno not in OF_PLACES:
        return ""
    return f"{error.filename}: access failed ({error.strerror}). Check its permissions, or choose another path."


def _take_all_text(stream: object) -> None:
    """Let a stream replace characters that its encoding lacks: a terminal without '±' must still show the metrics.

    The bytes of a file's name that are no UTF-8 are written as they are; in other encodings a question mark stands for what
    is missing.
    """
    if isinstance(stream, TextIOWrapper):
        is_utf8 = stream.encoding.lower().replace("-", "") == "utf8"
        stream.reconfigure(errors="surrogateescape" if is_utf8 else "replace")


def _mute() -> None:
    """Make sure that the interpreter's last flush of standard output succeeds."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # it is no file of the system
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - open until the process ends
