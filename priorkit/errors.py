"""Errors that are somebody's to mend, each with the exit code of the command line.

The message of a `PriorkitError` is one short paragraph: what is wrong, where, and what to do.  The commands print it
without a traceback; anything else that escapes is a defect of ours and keeps its traceback.
"""

__all__ = ["DivergedError", "FellowError", "InterruptedRunError", "PluginError", "PriorkitError", "UsageError", "said"]


class PriorkitError(Exception):
    """Something the user can mend."""

    exit_code = 2


class UsageError(PriorkitError):
    """A wrong option, file or value."""


class PluginError(PriorkitError):
    """A plugin that is missing, broken, duplicated or built for another contract."""

    exit_code = 3


class DivergedError(PriorkitError):
    """Training produced non-finite numbers too many times in a row."""

    exit_code = 4


class FellowError(PriorkitError):
    """Another process of the same run failed, and tells why; `run_ranks` takes that one for the cause."""

    exit_code = 5


class InterruptedRunError(PriorkitError):
    """A signal stopped a run after its state was saved; `exit_code` is 128 + the signal's number."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number

    def __reduce__(self) -> tuple[type, tuple[str, int]]:
        """One process tells the others of it."""
        return type(self), (str(self), self.exit_code - 128)


def said(error: BaseException, most: int = 300) -> str:
    """The class and the message of an error in one line of about `most` characters, whatever its `__str__` does."""
    try:
        text = " ".join(str(error).split())[:most]
    except Exception as failure:  # a third-party __str__ may raise anything
        text = f"(its message cannot be read: {type(failure).__name__})"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
