"""Opens a published checkpoint file without trusting it.

`torch.load(weights_only=True)` builds only tensors, plain containers and `argparse.Namespace`. Other risks are checked
first: archives are searched for members that would decompress or would not be read as data, and formats that torch passes to
other readers (its first, a tar, and TorchScript) are rejected.
"""

import argparse
import pickle
import re
import tarfile
import zipfile
from pathlib import Path
from stat import S_ISREG
from typing import Any

import torch

from priorkit.errors import UsageError

__all__ = ["read_file"]

PICKLE_START = b"\x80"
UNSAFE = re.compile(r"(?:GLOBAL|[Uu]nsupported class|unrecognized function) ([\w.]{1,100})")
"""The parts of torch's message that name the objects a file requires."""


def read_file(path: Path) -> dict[str, Any]:
    """Return the dict in a checkpoint file. Raises UsageError naming the file for everything else."""
    _check_plain_file(path)
    zipped = zipfile.is_zipfile(path)
    if zipped:
        _check_archive(path)
    else:
        _check_old_container(path)
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            # Memory-mapped, so that the optimiser state, twice the size of the weights, is never read.
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        raise UsageError(_refusal(path, error)) from error
    # The reader of a third-party file may raise anything, MemoryError for invented sizes.
    except Exception as error:
        raise UsageError(
            f"{path} is damaged or not a checkpoint of PyTorch ({_short(error)}); download it again."
        ) from error
    if not isinstance(content, dict):
        raise UsageError(f"{path} contains a {type(content).__name__}, not an NVAE checkpoint; give a file checkpoint.pt.")
    return content


def _check_plain_file(path: Path) -> None:
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):
            raise UsageError(f"{path} is not a file; give the checkpoint itself, usually checkpoint.pt.")
        with path.open("rb") as stream:
            start = stream.read(1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}).") from error
    if not start:
        raise UsageError(f"{path} is empty; download it again.")


def _check_archive(path: Path) -> None:
    """torch stores members uncompressed: compressed, overlapping or repeated members are malicious."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            names = [member.filename for member in members]
            if any(name.endswith("/constants.pkl") for name in names):
                raise UsageError(
                    f"{path} is a TorchScript archive, which is a program; an NVAE checkpoint contains only data."
                )
            packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
            if packed or len(set(names)) < len(names) or sum(m.file_size for m in members) > path.stat().st_size:
                raise UsageError(
                    f"{path}: the archive's members are compressed, overlapping or duplicate, so torch did not "
                    "write it; download it again."
                )
            broken = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError, OverflowError, NotImplementedError) as error:
        raise UsageError(f"{path} is a damaged archive ({_short(error)}); download it again.") from error
    if broken is not None:
        raise UsageError(f"{path} is damaged: the checksum of {broken!r} is wrong; download it again.")


def _check_old_container(path: Path) -> None:
    try:
        with tarfile.open(path, mode="r:"):
            raise UsageError(f"{path} is a tar archive, which cannot be read safely; load and save it with a newer PyTorch.")
    except (tarfile.TarError, OSError, ValueError, EOFError):
        pass
    with path.open("rb") as stream:
        start = stream.read(4)
    if start == b"PK\x03\x04":
        raise UsageError(f"{path} is a truncated archive; download it again.")
    if not start.startswith(PICKLE_START):
        raise UsageError(f"{path} is not a checkpoint of PyTorch; give a file such as checkpoint.pt.")


def _refusal(path: Path, error: pickle.UnpicklingError) -> str:
    found = UNSAFE.search(str(error))
    if found is None:
        return f"{path} is damaged or not a checkpoint of PyTorch; download it again."
    return (
        f"{path} refers to {found[1]}, which is not data. Such a file may execute code, so it was not "
        "loaded; get the checkpoint from its publisher, or save only state_dict and args."
    )


def _short(error: BaseException) -> str:
    """Return the first words of an error of torch, which may be pages long."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else f"{text[:157]}..."
