"""Statistics of features in the user's cache: an entry is `<cache>/features/<key>.bin`, a safetensors file after the SHA-256
(32 bytes) of the key and the file, so that entries of different extractors are not confused. It is written under a temporary
name, synced and renamed, so that it is complete or absent, and verified whenever it is read. If it cannot be written, the
statistics are computed each time."""

import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from priorkit.metrics.frechet import Statistics

__all__ = ["kept_statistics", "kept_tensors"]

DIGEST = 32


def kept_statistics(cache: Path, key: str, make: Callable[[], Statistics]) -> Statistics:
    """Return the statistics of that key, from the cache or computed and stored in it; warns as `kept_tensors`."""

    def tensors() -> dict[str, Tensor]:
        made = make()
        return {"mean": made.mean, "covariance": made.covariance, "count": torch.tensor(made.count)}

    found = kept_tensors(cache, key, tensors, ("mean", "covariance", "count"))
    return Statistics(found["mean"], found["covariance"], int(found["count"]))


def kept_tensors(cache: Path, key: str, make: Callable[[], dict[str, Tensor]], names: tuple[str, ...]) -> dict[str, Tensor]:
    """Return the tensors of these names and that key, from the cache or computed and stored in it.

    Warns if an entry is damaged (it is computed again) or cannot be written.
    """
    path = cache / "features" / f"{key}.bin"
    found = _read(path, key, names)
    if found is not None:
        return found
    made = make()
    try:
        _write(path, key, made)
    except OSError as error:
        reason = error.strerror or error
        warnings.warn(
            f"Feature statistics cannot be stored in {path.parent} ({reason}); they are computed again each time.",
            stacklevel=2,
        )
    return made


def _digest(key: str, content: bytes) -> bytes:
    return hashlib.sha256(f"{key}\0".encode() + content).digest()


def _read(path: Path, key: str, names: tuple[str, ...]) -> dict[str, Tensor] | None:
    """Return the verified entry, or None if there is none."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    try:
        if _digest(key, content[DIGEST:]) == content[:DIGEST]:
            tensors = load(content[DIGEST:])
            return {name: tensors[name] for name in names}
    except (SafetensorError, KeyError):
        pass
    warnings.warn(f"The cache entry {path} is damaged or a different one; it is computed again.", stacklevel=3)
    return None


def _write(path: Path, key: str, tensors: dict[str, Tensor]) -> None:
    content = save({name: value.cpu().contiguous() for name, value in tensors.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    number, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(number, "wb") as stream:
            stream.write(_digest(key, content) + content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
