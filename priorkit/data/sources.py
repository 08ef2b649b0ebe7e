"""Where image files lie: an archive, read member by member and never extracted, or a folder."""

import hashlib
import logging
import os
import posixpath
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from stat import S_ISLNK, S_ISREG
from typing import BinaryIO

from priorkit.errors import UsageError

__all__ = ["LABEL_FILE", "FolderSource", "ImageSource", "ZipSource"]

log = logging.getLogger(__name__)

LABEL_FILE = "dataset.json"
SUFFIXES = {".png", ".jpg", ".jpeg"}
OTHER_IMAGES = {
    *(".avif", ".bmp", ".dcm", ".dng", ".exr", ".gif", ".hdr", ".heic", ".heif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe"),
    *(".jxl", ".pbm", ".pgm", ".pnm", ".ppm", ".psd", ".svg", ".tga", ".tif", ".tiff", ".webp"),
    *(".7z", ".gz", ".h5", ".hdf5", ".mat", ".npy", ".npz", ".parquet", ".pkl", ".rar", ".tar", ".tfrecord", ".tgz", ".zip"),
    "",
}
"""Suffixes of files that hold images, or may hold them, and are not read."""
LARGEST_FILE = 2**28
"""Bytes that one image file may claim; no image that a generator is trained on comes near."""
LABEL_BYTES, NAME_BYTES = 256, 6
"""Bytes that a label's entry may have beside its name, and for each letter of the name, which JSON may escape."""
SPARE = 2**20
"""Bytes of a file of labels beside its entries."""
PACKED = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
"""Ways of compression that can be read up to a limit; zipfile unpacks the others without one."""


class ImageSource(ABC):
    """Image files by name, and the optional file of labels beside them."""

    title: str
    """What messages call it, such as 'zip:faces.zip'."""
    names: list[str]
    """The image files, sorted, with '/' between folders."""
    labels: str | None
    """The name of the file of labels, if there is one."""

    @abstractmethod
    def beginning(self, name: str, count: int) -> bytes:
        """The first `count` bytes of one file, of which no more is unpacked; safe to call from several threads.

        Raises UsageError naming the file.
        """

    def read(self, name: str, limit: int) -> bytes:
        """The bytes of one file.  Raises UsageError where it has more than `limit`."""
        data = self.beginning(name, limit + 1)
        if len(data) > limit:
            what = f"{len(self.names):,} labels" if name == self.labels else "an image of this size"
            raise UsageError(f"{self.title}: {name!r} has more than {limit:,} bytes, the limit for {what}; replace it.")
        return data

    @abstractmethod
    def content(self) -> str:
        """SHA-256 of everything that the source holds."""

    def label_file(self) -> bytes | None:
        """The bytes of `dataset.json`, or None."""
        limit = SPARE + sum(LABEL_BYTES + NAME_BYTES * len(name) for name in self.names)
        return self.read(self.labels, limit) if self.labels else None

    @abstractmethod
    def close(self) -> None:
        """Release the files."""

    def _choose(self, names: Collection[str]) -> None:
        """Set `names` and `labels` from the names of all files; the log warns of others that may hold images."""
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


class ZipSource(ImageSource):
    """A zip archive."""

    def __init__(self, path: Path) -> None:
        self.title = f"zip:{path}"
        self._path = path
        self._zip = _open_zip(path, self.title)
        self._infos = {info.filename: info for info in self._zip.infolist() if not info.is_dir()}
        try:
            self._check_directory()
            self._choose(self._infos.keys())
        except UsageError:
            self.close()
            raise

    def beginning(self, name: str, count: int) -> bytes:
        try:
            with self._zip.open(self._infos[name]) as stream:
                return stream.read(count)
        # RuntimeError: encrypted; NotImplementedError, a subclass: a compression that zipfile does not know.
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
            raise UsageError(
                f"{self.title}: {name!r} cannot be read ({error}); create or download the archive again."
            ) from error

    def content(self) -> str:
        # Of the file that is open: another one may lie there by now.
        stream = self._zip.fp
        if stream is None:
            raise ValueError(f"{self.title} is closed")
        stream.seek(0)
        return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]

    def close(self) -> None:
        self._zip.close()

    def _check_directory(self) -> None:
        """Believe no size, position or name of the archive's directory before it is plausible."""
        end = self._path.stat().st_size
        entries = self._zip.infolist()
        if len(entries) > len({info.filename for info in entries}):
            twice = next(name for name, n in Counter(info.filename for info in entries).items() if n > 1)
            raise UsageError(f"{self.title}: the archive contains {twice!r} more than once; create it again.")
        for info in self._infos.values():
            if info.header_offset + info.compress_size > end:
                raise UsageError(
                    f"{self.title}: {info.filename!r} ends beyond the end of the file; the archive is damaged. "
                    "Create or download it again."
                )
            if info.compress_type not in PACKED:
                raise UsageError(
                    f"{self.title}: {info.filename!r} has an unsupported compression; create the archive again "
                    "with stored or deflated members, as `zip` does."
                )
            if S_ISLNK(info.external_attr >> 16):
                raise UsageError(
                    f"{self.title}: {info.filename!r} is a link, and the archive does not contain its target; "
                    "create it again from the files themselves, with `zip` without -y."
                )
            if info.file_size > LARGEST_FILE and info.filename != LABEL_FILE:
                told = f"has {info.file_size:,} bytes; the limit is {LARGEST_FILE:,}"
                raise UsageError(f"{self.title}: {info.filename!r} {told}.")


class FolderSource(ImageSource):
    """A folder and all folders in it, links to folders too."""

    def __init__(self, path: Path) -> None:
        self.title = f"folder:{path}"
        self._path = path
        if not path.is_dir():
            raise UsageError(f"{self.title}: no such folder; check the path.")
        self._choose(sorted(self._files()))

    def beginning(self, name: str, count: int) -> bytes:
        try:
            with self._open(name) as stream:
                return stream.read(count)
        except OSError as error:
            raise self._unreadable(name, error) from error

    def content(self) -> str:
        digest = hashlib.sha256()
        for name in [*self.names, *([self.labels] if self.labels else [])]:
            try:
                with self._open(name) as stream:
                    digest.update(f"{name}\0{os.fstat(stream.fileno()).st_size}\0".encode(errors="surrogateescape"))
                    while block := stream.read(SPARE):
                        digest.update(block)
            except OSError as error:
                raise self._unreadable(name, error) from error
        return digest.hexdigest()

    def close(self) -> None:
        pass

    def _files(self) -> Iterator[str]:
        """The names of all files.  Raises UsageError for a folder that cannot be listed or that links lead to twice."""

        def unlisted(error: OSError) -> None:
            raise self._unreadable(os.path.relpath(error.filename, self._path), error) from error

        seen: dict[tuple[int, int], str] = {}
        for parent, _, files in os.walk(self._path, followlinks=True, onerror=unlisted):
            status, name = os.stat(parent), Path(parent).relative_to(self._path).as_posix()
            first = seen.setdefault((status.st_dev, status.st_ino), name)
            if first != name:
                raise UsageError(
                    f"{self.title}: {first!r} and {name!r} are the same folder through a link, so its images "
                    "would be read twice; remove the link."
                )
            yield from (Path(parent, file).relative_to(self._path).as_posix() for file in files)

    def _open(self, name: str) -> BinaryIO:
        status = (self._path / name).stat()
        if not S_ISREG(status.st_mode):  # a pipe, say, would wait for ever
            raise UsageError(f"{self.title}: {name!r} is not a regular file; remove it.")
        return (self._path / name).open("rb")

    def _unreadable(self, name: str, error: OSError) -> UsageError:
        return UsageError(f"{self.title}: {name!r} cannot be read ({error.strerror}).")


def _suffix(name: str) -> str:
    return posixpath.splitext(name)[1].lower()


def _is_hidden(name: str) -> bool:
    """True for what archivers and file managers leave behind, such as '__MACOSX/._a.png'."""
    return any(mark in f"/{name}" for mark in ("/.", "/__MACOSX/"))


def _open_zip(path: Path, title: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        raise UsageError(f"{title}: no such file; check the path.") from None
    except IsADirectoryError:
        raise UsageError(f"{title} is a folder; use folder:{path}.") from None
    except OSError as error:
        raise UsageError(f"{title} cannot be opened ({error.strerror}).") from error
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OverflowError) as error:
        wrong = "is truncated or damaged" if _begins_as_zip(path) else "is not a zip archive"
        raise UsageError(f"{title} {wrong} ({error}); create or download it again.") from error


def _begins_as_zip(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(4) == b"PK\x03\x04"
    except (OSError, ValueError):  # ValueError: no file can be called so
        return False
