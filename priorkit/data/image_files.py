"""The image files of an archive or a folder: which are read, and their size limits."""

import logging
import posixpath
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection

from priorkit.errors import UsageError

__all__ = ["LABEL_FILE", "ImageFiles"]

log = logging.getLogger(__name__)

LABEL_FILE = "dataset.json"
SUFFIXES = {".png", ".jpg", ".jpeg"}
OTHER_IMAGES = {
    *(".avif", ".bmp", ".dcm", ".dng", ".exr", ".gif", ".hdr", ".heic", ".heif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe"),
    *(".jxl", ".pbm", ".pgm", ".pnm", ".ppm", ".psd", ".svg", ".tga", ".tif", ".tiff", ".webp"),
    *(".7z", ".gz", ".h5", ".hdf5", ".mat", ".npy", ".npz", ".parquet", ".pkl", ".rar", ".tar", ".tfrecord", ".tgz", ".zip"),
    "",
}
"""Suffixes of files that are or may be images, and are not read."""
LABEL_BYTES, NAME_BYTES = 256, 6
"""Bytes allowed for a label's entry besides its name, and per letter of the name, which JSON may escape."""
SPARE = 2**20
"""Bytes allowed in a file of labels besides its entries."""


class ImageFiles(ABC):
    """Image files by name, and the optional file of labels."""

    title: str
    """The name in messages, such as 'zip:faces.zip'."""
    names: list[str]
    """The image files, sorted, with '/' between folders."""
    labels: str | None
    """The name of the file of labels, if there is one."""

    @abstractmethod
    def beginning(self, name: str, count: int) -> bytes:
        """Return the first `count` bytes of one file without unpacking more; safe to call from several threads.

        Raises UsageError naming the file.
        """

    def read(self, name: str, limit: int) -> bytes:
        """Return the bytes of one file. Raises UsageError if it has more than `limit`."""
        data = self.beginning(name, limit + 1)
        if len(data) > limit:
            what = f"{len(self.names):,} labels" if name == self.labels else "an image of this size"
            raise UsageError(f"{self.title}: {name!r} has more than {limit:,} bytes, the limit for {what}; replace it.")
        return data

    @abstractmethod
    def content(self) -> str:
        """The SHA-256 of all files."""

    def label_file(self) -> bytes | None:
        """Return the bytes of `dataset.json`, or None."""
        limit = SPARE + sum(LABEL_BYTES + NAME_BYTES * len(name) for name in self.names)
        return self.read(self.labels, limit) if self.labels else None

    @abstractmethod
    def close(self) -> None:
        """Close the files."""

    def _choose(self, names: Collection[str]) -> None:
        """Set `names` and `labels` from the names of all files; the log warns of others that may be images."""
        files = [name for name in names if not _is_hidden(name)]
        images = sorted(name for name in files if _suffix(name) in SUFFIXES)
        others = Counter(map(_suffix, files))
        seen = ", ".join(f"{n} {s or 'without suffix'}" for s, n in sorted(others.items()) if s in OTHER_IMAGES)
        if not images:
            hint = f" (it holds {seen}; convert them)" if seen else ""
            raise UsageError(f"{self.title} contains no images: expected .png or .jpg files{hint}.")
        if seen:
            log.warning(
                "%s: %s .png and .jpg files are read, and %s left out; convert them if they are images of the "
                "data set",
                self.title, f"{len(images):,}", seen,
            )  # fmt: skip
        self.names = images
        self.labels = LABEL_FILE if LABEL_FILE in names else None
        nested = [name for name in files if name.endswith(f"/{LABEL_FILE}")]
        if nested and not self.labels:
            raise UsageError(
                f"{self.title}: {nested[0]!r} must be at the top level; create the archive again from inside its folder."
            )


def _suffix(name: str) -> str:
    return posixpath.splitext(name)[1].lower()


def _is_hidden(name: str) -> bool:
    """Return True for files that archivers and file managers leave behind, such as '__MACOSX/._a.png'."""
    return any(mark in f"/{name}" for mark in ("/.", "/__MACOSX/"))
