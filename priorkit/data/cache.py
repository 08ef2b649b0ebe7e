"""Decoded images, stored once in a memory-mapped file.

An entry is a folder `<cache>/images/<key>/` with `pixels.npy` (N, C, H, W) and `entry.json` (its size and SHA-256). It is
written under a temporary name, synced and renamed, so that it is complete or absent, and verified whenever it is read. If it
cannot be written, the images stay in memory.
"""

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import chain
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from priorkit.errors import UsageError
from priorkit.runtime.user_path import user_path

__all__ = ["cache_folder", "cached_pixels"]

REVISION = 1
"""Part of every key; increased whenever the same files would be decoded to other pixels."""
PIXELS, ENTRY = "pixels.npy", "entry.json"
STALE = 86_400.0
"""Seconds without a write after which an unfinished entry counts as abandoned."""

Pixels = NDArray[np.uint8]
Shape = tuple[int, int, int, int]


def cache_folder(cache: Path | None = None) -> Path:
    """Return the given folder, else PRIORKIT_CACHE, else the platform's cache folder. Raises UsageError if that is the
    folder of a user without a home."""
    import platformdirs

    if cache is None:
        cache = Path(os.environ.get("PRIORKIT_CACHE") or platformdirs.user_cache_dir("priorkit"))
    try:
        return user_path(cache)
    except UsageError as error:
        raise UsageError(f"The cache would be {error} Set PRIORKIT_CACHE to another folder.") from error


def cached_pixels(content: str, shape: Shape, decode: Callable[[], Iterator[Pixels]], cache: Path | None = None) -> Pixels:
    """Return the pixels of the given content hash, from the cache or decoded into it: uint8 of `shape`, writable
    copy-on-write.

    Warns if an entry is damaged (it is decoded again) or cannot be written (the pixels are then in memory). Raises
    UsageError if neither the disk nor memory has room for them.
    """
    folder = cache_folder(cache) / "images" / hashlib.sha256(f"{REVISION}:{content}".encode()).hexdigest()[:32]
    pixels = _read(folder, shape)
    if pixels is not None:
        return pixels
    try:
        _write(folder, shape, decode())
        pixels = _read(folder, shape)
    except OSError as error:
        reason = f"{error.strerror or error}"
        warnings.warn(f"Decoded images cannot be stored in {folder.parent} ({reason}); they stay in memory.", stacklevel=2)
    return _in_memory(shape, decode()) if pixels is None else pixels


def _read(folder: Path, shape: Shape) -> Pixels | None:
    """Return the verified entry, or None if there is none."""
    if not folder.is_dir():
        return None
    try:
        entry = json.loads((folder / ENTRY).read_bytes())
        with (folder / PIXELS).open("rb") as stream:
            whole = os.fstat(stream.fileno()).st_size == entry["size"]
            whole = whole and hashlib.file_digest(stream, "sha256").hexdigest() == entry["sha256"]
        if whole:
            # Copy-on-write: torch needs writable memory, and nothing may change the file.
            pixels = np.load(folder / PIXELS, mmap_mode="c", allow_pickle=False)
            if pixels.shape == shape and pixels.dtype == np.uint8:
                return np.asarray(pixels)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    warnings.warn(f"The cache entry {folder} is damaged; its images are decoded again.", stacklevel=3)
    shutil.rmtree(folder, ignore_errors=True)
    return None


def _write(folder: Path, shape: Shape, blocks: Iterator[Pixels]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder.parent)
    if shutil.disk_usage(folder.parent).free < prod(shape):  # checked beforehand, without filling the disk
        raise OSError(errno.ENOSPC, f"{prod(shape):,} bytes are more than is free")
    temporary = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=folder.parent))
    try:
        entry = _write_pixels(temporary / PIXELS, shape, blocks)
        with (temporary / ENTRY).open("w") as stream:
            json.dump(entry, stream)
            stream.flush()
            os.fsync(stream.fileno())
        _publish(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sweep(place: Path) -> None:
    """Remove files of interrupted writers; since others may be writing, only those older than a day."""
    for rest in place.glob(".*.tmp"):
        try:
            touched = max(path.stat().st_mtime for path in (rest, *rest.iterdir()))
        except OSError:  # it has been removed meanwhile
            continue
        if touched < time.time() - STALE:
            shutil.rmtree(rest, ignore_errors=True)


def _write_pixels(path: Path, shape: Shape, blocks: Iterator[Pixels]) -> dict[str, int | str]:
    header = BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    digest, size = hashlib.sha256(), 0
    # Written rather than mapped: on a full disk a write fails with an error, a mapped page kills the process.
    with path.open("wb") as stream:
        for part in chain([np.frombuffer(header.getvalue(), dtype=np.uint8)], blocks):
            digest.update(part.data)
            stream.write(part.data)
            size += part.nbytes
        stream.flush()
        os.fsync(stream.fileno())
    return {"size": size, "sha256": digest.hexdigest()}


def _publish(temporary: Path, folder: Path) -> None:
    """Rename the finished entry into place; if another process was faster, its entry is used."""
    try:
        os.rename(temporary, folder)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise


def _in_memory(shape: Shape, blocks: Iterator[Pixels]) -> Pixels:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else prod(shape)
    if prod(shape) > memory:
        raise UsageError(
            f"{shape[0]:,} images of {shape[3]}x{shape[2]} are {prod(shape):,} bytes when decoded, more "
            f"than the cache's disk or this machine's memory ({memory:,}) can hold. Set PRIORKIT_CACHE to "
            "a folder with more space, or make the images smaller."
        )
    pixels = np.empty(shape, dtype=np.uint8)
    start = 0
    for block in blocks:
        pixels[start : start + len(block)] = block
        start += len(block)
    return pixels
