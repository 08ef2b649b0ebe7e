"""The checksums of a run's files, in its MANIFEST.json, which verify that files are read as the run wrote them.

The entry of a file is removed before the file is written again, so a process interrupted between the two leaves a file
without a checksum and never one with a wrong checksum. Runs older than the manifest have none, and are read without the
check.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from priorkit.errors import UsageError
from priorkit.runtime.atomic_files import MANIFEST, read_file, sha256, write_json

__all__ = ["listed", "read_listed", "seal", "unseal"]

CHANGED = (
    "is not as the run wrote it (its checksum differs from that in MANIFEST.json). Restore it; if it was changed on "
    "purpose, take its entry out of MANIFEST.json, and it is read without this check."
)


def listed(folder: Path) -> dict[str, str]:
    """Return the SHA-256 by the file's name in the folder; empty if there is no manifest. Raises UsageError for a damaged
    one."""
    path = folder / MANIFEST
    if not path.exists() and not path.is_symlink():
        return {}
    try:
        found = json.loads(read_file(path))
    except (ValueError, RecursionError) as error:
        raise _damaged(path) from error
    if not isinstance(found, dict) or not all(isinstance(digest, str) for digest in found.values()):
        raise _damaged(path)
    return found


def read_listed(folder: Path, name: str, absent: str = "Restore it.") -> bytes:
    """Return the bytes of a file of the folder, verified with its checksum if it has one.

    Raises UsageError if it has changed, cannot be read, or is missing, in which case `absent` gives more information.
    """
    expected = listed(folder).get(name)
    content = read_file(folder / name, absent)
    if expected is not None and hashlib.sha256(content).hexdigest() != expected:
        raise UsageError(f"{folder / name}: {CHANGED}")
    return content


def seal(folder: Path, names: Iterable[str]) -> None:
    """Record the checksums of these files if they exist and have none yet; a file that was damaged since keeps its
    checksum."""
    known = listed(folder)
    found = {name: sha256(folder / name) for name in names if name not in known and (folder / name).is_file()}
    write_json(folder / MANIFEST, {**known, **found})


def unseal(folder: Path, keep: Iterable[str]) -> None:
    """Remove all checksums except those of `keep`, before the other files are written again."""
    if known := listed(folder):
        write_json(folder / MANIFEST, {name: known[name] for name in keep if name in known})


def _damaged(path: Path) -> UsageError:
    return UsageError(f"{path}: is damaged. Restore it, or remove it to read the run without its checksums.")
