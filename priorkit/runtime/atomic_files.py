"""Files and folders that are either whole or absent.

Everything is written under a temporary name beside its place, synced, and renamed.  A folder carries a `MANIFEST.json`
with the size and SHA-256 of each file, written last: safetensors itself loads flipped bits without a word.
"""

import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor

from priorkit.errors import UsageError

__all__ = [
    "MANIFEST", "discard", "holds", "publish_folder", "read_file", "read_tensors", "replace_folder", "sha256", "sweep",
    "write_bytes", "write_json", "write_tensors", "writing",
]  # fmt: skip

MANIFEST = "MANIFEST.json"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Convert errors of the system within the block (a full disk, missing permissions) to UsageError."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"{path}: could not be written ({error.strerror or error}). The previous file is unchanged. "
            "Free some space or choose another folder, then try again; continue a training run with "
            "`priorkit train --resume`."
        ) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Replace the file at `path`; a full disk leaves the old one and no rest."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def write_json(path: Path, content: Any) -> None:
    """Replace a JSON file."""
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> str:
    """Replace a safetensors file; gives the SHA-256 of what was written."""
    content = save_bytes({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, metadata)
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def read_file(path: Path, absent: str = "Restore it.") -> bytes:
    """The bytes of a plain file.  Raises UsageError, which says `absent` where there is no such file."""
    try:
        with _opened(path) as stream:
            return stream.read()
    except FileNotFoundError as error:
        raise UsageError(f"{path}: there is no such file. {absent}") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error}). Restore it.") from error


def read_tensors(path: Path, expected: str | None = None) -> dict[str, Tensor]:
    """Read a safetensors file, and check its SHA-256 where one is given.  Raises UsageError."""
    content = read_file(path, "The run is unfinished; go on with `priorkit train --resume`.")
    if expected is not None and hashlib.sha256(content).hexdigest() != expected:
        raise UsageError(f"{path}: its checksum is not the recorded one; the file was damaged or changed. Restore it.")
    try:
        return load_bytes(content)
    except SafetensorError as error:
        raise UsageError(f"{path}: not a readable safetensors file ({error}). Restore it.") from error


def sha256(path: Path) -> str:
    """Hex digest of a plain file's bytes.  Raises OSError for anything else."""
    with _opened(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def replace_folder(target: Path, files: Mapping[str, bytes]) -> None:
    """Write a new folder of files with a manifest and move it to `target`, which must not exist."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    discard(temporary)
    try:
        for name, content in files.items():
            write_bytes(temporary / name, content)
        entries: dict[str, dict[str, int | str]] = {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in files.items()
        }
        publish_folder(temporary, target, entries)
    except (OSError, UsageError):
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def publish_folder(temporary: Path, target: Path, entries: Mapping[str, dict[str, int | str]]) -> None:
    """Give a folder of synced files its manifest, `bytes` and `sha256` by file name, and its own name."""
    write_json(temporary / MANIFEST, entries)
    temporary.rename(target)
    _sync_folder(target.parent)


def holds(folder: Path) -> bool:
    """True if the folder has a manifest of exactly its other files, hidden ones apart, each of its size and checksum."""
    try:
        entries = json.loads(read_file(folder / MANIFEST))
        # An empty manifest would hold of anything.
        there = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        return {*entries, MANIFEST} == there and all(
            (folder / name).stat().st_size == entry["bytes"] and sha256(folder / name) == entry["sha256"]
            for name, entry in entries.items()
        )
    except (OSError, UsageError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return False


def sweep(folder: Path) -> None:
    """Remove what writers that were killed have left.  Nobody may be writing in the folder."""
    for rest in folder.glob(".*.part"):
        discard(rest)


def discard(path: Path) -> None:
    """Remove what lies there, a file, a folder or anything else, if something does."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with writing(path):
            path.unlink(missing_ok=True)


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    """A plain file, to be read.  Raises OSError for anything else: a FIFO would wait for a writer for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a plain file", str(path))
    with os.fdopen(descriptor, "rb") as stream:
        yield stream


def _sync_folder(folder: Path) -> None:
    """A rename is durable only once its folder is synced."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
