"""Paths as users write them."""

from pathlib import Path

from priorkit.errors import UsageError

__all__ = ["user_path"]


def user_path(place: str | Path) -> Path:
    """The path, with the home folder in place of a '~' that it begins with.

    Raises UsageError where that folder is not known: there is no such user, or HOME is not set; and for a null character,
    which no file's name has.
    """
    if "\0" in str(place):
        raise UsageError(f"{str(place)!r}: a file's name holds no null character; name the file that is meant.")
    try:
        return Path(place).expanduser()
    except RuntimeError as error:
        raise UsageError(
            f"{place}: the home folder that {Path(place).parts[0]} stands for is not known. Write the whole path; of a file "
            "that is really called so, ./ before it."
        ) from error
