"""Errors with the exit codes of the command line.

The message of a `PriorkitError` is one short paragraph: what is wrong, where, and what to do.  The commands print it
without a traceback; any other exception is a bug in priorkit and is printed with its traceback.
"""

__all__ = ["DivergedError", "FellowError", "InterruptedRunError", "PluginError", "PriorkitError", "UsageError", "said"]


class PriorkitError(Exception):
    """An error that the user can correct."""

    exit_code = 2


class UsageError(PriorkitError):
    """A wrong option, file or value."""


class PluginError(PriorkitError):
    """A plugin that is missing, broken, duplicated or built for another contract."""

    exit_code = 3


class DivergedError(PriorkitError):
    """Training produced non-finite numbers in too many consecutive steps."""

    exit_code = 4


class FellowError(PriorkitError):
    """Another process of the same run failed and reports the cause."""

    exit_code = 5


class InterruptedRunError(PriorkitError):
    """A signal stopped a run after its state was saved; `exit_code` is 128 + the signal's number."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number

    def __reduce__(self) -> tuple[type, tuple[str, int]]:
        """Support pickling between processes."""
        return type(self), (str(self), self.exit_code - 128)


def said(error: BaseException, most: int = 300) -> str:
    """Return the class and the message of an error in one line of about `most` characters, even if its `__str__` fails."""
    try:
        text = " ".join(str(error).split())[:most]
    except Exception as failure:  # a third-party __str__ may raise anything
        text = f"(its message cannot be read: {type(failure).__name__})"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
