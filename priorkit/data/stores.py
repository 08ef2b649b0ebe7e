"""Images in a chunked store, a local folder or a bucket, that is never copied: `stream:PLACE`.

The store contains two arrays of Zarr version 3: `image`, uint8 (N, C, H, W), and, if there are labels, `label`, integers
(N,). TensorStore reads them. It fetches only the inner chunks with a batch's rows, so with one image per chunk a batch of
random rows costs only the size of its images, and the engine can sample rows as from any data. Data that were read stay in a
cache of limited size in memory; nothing is written to disk.

TensorStore is an optional extra, imported when such a store is used.
"""

import hashlib
import importlib
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from priorkit.core import DataSource, DataSpec
from priorkit.data.chunk_files import ChunkFiles
from priorkit.data.dataset import Dataset, class_count, integer_labels, undivided
from priorkit.data.streamed import Streamed
from priorkit.errors import UsageError
from priorkit.runtime.user_path import user_path

__all__ = ["StoreImages", "read_store"]

IMAGE, LABEL, METADATA = "image", "label", "zarr.json"
CACHE = 1.0
"""Size of the cache in GiB if PRIORKIT_STREAM_CACHE is not set."""
LARGEST = 2**32
"""Largest size in GiB; TensorStore counts bytes in 63 bits."""
HASHED = 16
"""Number of images in the content hash; reading all of them may take too long."""
RETRIES = {"max_retries": 6, "initial_delay": "500ms", "max_delay": "8s"}
"""A connection may be lost for about twenty seconds before a run ends with an error."""
FAILURES = (ValueError, RuntimeError, OSError)
"""Exceptions of TensorStore for places that it cannot open or read."""


def read_store(name: str) -> tuple[DataSpec, Streamed, str]:
    """Return the images of 'stream:PLACE' in the order of their rows, and the hash of the content.

    The hash is that of the array's description, all labels and HASHED images spread over the rows. Raises UsageError without
    TensorStore, and if the store cannot be opened or contains something else.
    """
    store = _Store(name)
    description, image = store.array(IMAGE) or (b"", None)
    if image is None:
        raise UsageError(
            f"{name} does not contain {IMAGE}/{METADATA}. Give the folder or address of a store, with the "
            f"array {IMAGE} and, if there are labels, the array {LABEL}, both in Zarr version 3."
        )
    if image.dtype.name != "uint8" or len(image.shape) != 4 or 0 in image.shape:
        raise UsageError(
            f"{name}: expected the array {IMAGE} as uint8 (N, C, H, W) without an empty axis, "
            f"got {image.dtype.name} {tuple(image.shape)}."
        )
    labels = store.labels(int(image.shape[0]))
    images = Streamed(image, None if labels is None else torch.from_numpy(labels), name, files=store.files(description))
    first = images.integers(torch.linspace(0, len(images) - 1, HASHED, dtype=torch.float64).long())
    content = hashlib.sha256(hashlib.sha256(description).digest())
    content.update(b"none" if labels is None else hashlib.sha256(labels.tobytes()).digest())
    content.update(first.numpy().tobytes())
    return DataSpec(name, images.shape, images.levels, class_count(images.labels)), images, content.hexdigest()


class StoreImages(DataSource):
    """Images in a chunked store, a folder or a bucket, that are read in place."""

    places = ("PLACE",)
    divided = False

    def __call__(self, root: Path | None = None, *, place: str = "", **_: Any) -> Dataset:
        """Return all images, in the order of their rows."""
        return undivided(*read_store(f"stream:{place}"))


class _Store:
    """The folder or address of a store, opened for reading."""

    def __init__(self, name: str) -> None:
        self._name, self._library = name, _library(name)
        limit = {"total_bytes_limit": _cache_bytes()}
        retries = {f"{kind}_request_retries": RETRIES for kind in ("http", "s3", "gcs")}
        self._context = self._library.Context({"cache_pool": limit, **retries})
        try:
            place = _place(name)
            self._folder = None if isinstance(place, str) else Path(place["path"])
            self._place = self._library.KvStore.open(place, context=self._context).result()
        except FAILURES as error:
            raise self._refusal("is no place that can be opened", error) from error

    def array(self, array: str) -> tuple[bytes, Any] | None:
        """Return the description and the array of that name, or None."""
        try:
            found = (self._place / array / METADATA).read("").result()
        except FAILURES as error:
            raise self._refusal("cannot be reached", error) from error
        if found.state != "value":
            return None
        # A missing chunk would be read as black images. Cached data are not requested again: a store is not
        # expected to change.
        options = {"driver": "zarr3", "fill_missing_data_reads": False, "recheck_cached_data": False}
        opened = self._library.open(options, kvstore=self._place / f"{array}/", context=self._context, read=True)
        try:
            return found.value, opened.result()
        except FAILURES as error:
            raise self._refusal(f"holds an entry {array}/{METADATA} that is no array", error) from error

    def files(self, description: bytes) -> ChunkFiles | None:
        """Return the files of the images, by their array's description; None if the store is not a local folder."""
        return None if self._folder is None else ChunkFiles(self._folder / IMAGE, description, self._name)

    def labels(self, count: int) -> NDArray[np.int64] | None:
        """Return the labels (N,), int64, or None."""
        found = self.array(LABEL)
        if found is None:
            return None
        try:
            labels = found[1].read().result()
        except FAILURES as error:
            raise self._refusal(f"holds an array {LABEL} that cannot be read", error) from error
        return integer_labels(labels, count, self._name)

    def _refusal(self, what: str, error: Exception) -> UsageError:
        return UsageError(f"{self._name} {what} ({' '.join(str(error).split())[:500]}).")


def _library(name: str) -> Any:
    try:
        return importlib.import_module("tensorstore")
    except ImportError as error:
        raise UsageError(f"{name} needs TensorStore ({error}): pip install 'priorkit[streaming]'.") from error


def _place(name: str) -> str | dict[str, str]:
    """Return the store's location for TensorStore: a URL unchanged, or a local folder."""
    place = name.partition(":")[2]
    if not place:
        raise UsageError(f"{name!r} does not name a store: write stream:FOLDER or stream:URL.")
    if "://" in place:
        return place
    folder = user_path(place)
    if not folder.is_dir():
        raise UsageError(f"{name}: no such folder; check the path.")
    return {"driver": "file", "path": str(folder.resolve())}


def _cache_bytes() -> int:
    asked = os.environ.get("PRIORKIT_STREAM_CACHE") or CACHE
    try:
        size = float(asked)
    except ValueError:
        size = math.nan
    if not 0 <= size < LARGEST:
        raise UsageError(f"PRIORKIT_STREAM_CACHE is {asked!r}; set it to the size of the cache in GiB, such as 4 or 0.5.")
    return int(size * 2**30)
