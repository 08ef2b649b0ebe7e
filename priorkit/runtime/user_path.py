"""Paths as users write them."""

import os
from pathlib import Path

from priorkit.errors import UsageError

__all__ = ["given_path", "user_path"]


def given_path(name: str, place: object) -> Path:
    """The path that a caller gives as the argument `name`.  Raises UsageError for what is neither text nor a path."""
    found = os.fspath(place) if isinstance(place, str | os.PathLike) else None
    if not isinstance(found, str):
        raise UsageError(f"{name}: expected a path, as text or as pathlib.Path, got {place!r:.60}.")
    return Path(found)


def user_path(place: str | Path) -> Path:
    """The path, with the home folder in place of a '~' that it begins with.

    Raises UsageError where that folder is not known: there is no such user, or HOME is not set; for a null character, which
    no file's name has; and for what is no path.
    """
    if "\0" in str(place):
        raise UsageError(f"{str(place)!r}: a file name cannot contain a null character; correct the path.")
    path = given_path("path", place)
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise UsageError(
            f"{place}: the home folder of {path.parts[0]} is unknown. Write the complete path; for a file "
            "with this name, write ./ before it."
        ) from error
