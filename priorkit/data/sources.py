"""Where image files lie: an archive, read member by member and never extracted, or a folder."""

import hashlib
import os
import posixpath
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from stat import S_ISREG

from priorkit.errors import UsageError

__all__ = ["LABEL_FILE", "FolderSource", "ImageSource", "ZipSource"]

LABEL_FILE = "dataset.json"
SUFFIXES = {".png", ".jpg", ".jpeg"}
OTHER_IMAGES = {".bmp", ".gif", ".npy", ".ppm", ".tif", ".tiff", ".webp"}
LARGEST_FILE = 2**28
"""Bytes that one image file may claim; no image that a generator is trained on comes near."""
LARGEST_LABEL_FILE = 2**30


class ImageSource(ABC):
    """Image files by name, and the optional file of labels beside them."""

    title: str
    """What messages call it, such as 'zip:faces.zip'."""
    names: list[str]
    """The image files, sorted, with '/' between folders."""
    labels: str | None
    """The name of the file of labels, if there is one."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The bytes of one file; safe to call from several threads.  Raises UsageError naming it."""

    @abstractmethod
    def content(self) -> str:
        """SHA-256 of everything that the source holds."""

    def label_file(self) -> bytes | None:
        """The bytes of `dataset.json`, or None."""
        return self.read(self.labels) if self.labels else None

    @abstractmethod
    def close(self) -> None:
        """Release the files."""

    def _choose(self, names: Collection[str]) -> None:
        """Set `names` and `labels` from the names of all files."""
        files = [name for name in names if not _is_hidden(name)]
        images = sorted(name for name in files if _suffix(name) in SUFFIXES)
        if not images:
            others = Counter(map(_suffix, files))
            seen = ", ".join(f"{n} {s}" for s, n in sorted(others.items()) if s in OTHER_IMAGES)
            hint = f" (it holds {seen}; convert them)" if seen else ""
            raise UsageError(f"{self.title} holds no images: expected .png or .jpg files{hint}.")
        self.names = images
        self.labels = LABEL_FILE if LABEL_FILE in names else None
        nested = [name for name in files if name.endswith(f"/{LABEL_FILE}")]
        if nested and not self.labels:
            raise UsageError(f"{self.title}: {nested[0]!r} must lie at the top; pack the set anew from its own folder.")


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

    def read(self, name: str) -> bytes:
        try:
            return self._zip.read(self._infos[name])
        # RuntimeError: encrypted; NotImplementedError, a subclass: a compression that zipfile does not know.
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
            raise UsageError(f"{self.title}: {name!r} cannot be read ({error}); make or fetch the archive again.") from error

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
            raise UsageError(f"{self.title}: the archive holds {twice!r} more than once; make it again.")
        for info in self._infos.values():
            if info.header_offset + info.compress_size > end:
                raise UsageError(f"{self.title}: {info.filename!r} would end beyond the file's end; it is damaged.")
            _check_size(info.file_size, info.filename, self.title)


class FolderSource(ImageSource):
    """A folder and all folders in it."""

    def __init__(self, path: Path) -> None:
        self.title = f"folder:{path}"
        self._path = path
        if not path.is_dir():
            raise UsageError(f"{self.title}: there is no such folder.")
        files = sorted(
            Path(parent, file).relative_to(path).as_posix() for parent, _, files in os.walk(path) for file in files
        )
        self._choose(files)

    def read(self, name: str) -> bytes:
        try:
            status = (self._path / name).stat()
            if not S_ISREG(status.st_mode):
                raise UsageError(f"{self.title}: {name!r} is not a plain file; remove it.")
            _check_size(status.st_size, name, self.title)
            return (self._path / name).read_bytes()
        except OSError as error:
            raise UsageError(f"{self.title}: {name!r} cannot be read ({error.strerror}).") from error

    def content(self) -> str:
        digest = hashlib.sha256()
        for name in [*self.names, *([self.labels] if self.labels else [])]:
            data = self.read(name)
            digest.update(f"{name}\0{len(data)}\0".encode(errors="surrogateescape"))
            digest.update(data)
        return digest.hexdigest()

    def close(self) -> None:
        pass


def _suffix(name: str) -> str:
    return posixpath.splitext(name)[1].lower()


def _is_hidden(name: str) -> bool:
    """True for what archivers and file managers leave behind, such as '__MACOSX/._a.png'."""
    return any(mark in f"/{name}" for mark in ("/.", "/__MACOSX/"))


def _check_size(size: int, name: str, title: str) -> None:
    limit = LARGEST_LABEL_FILE if name == LABEL_FILE else LARGEST_FILE
    if size > limit:
        raise UsageError(f"{title}: {name!r} claims {size:,} bytes; the limit is {limit:,}.")


def _open_zip(path: Path, title: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        raise UsageError(f"{title}: there is no such file.") from None
    except IsADirectoryError:
        raise UsageError(f"{title} is a folder; name it as folder:{path}.") from None
    except OSError as error:
        raise UsageError(f"{title} cannot be opened ({error.strerror}).") from error
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OverflowError) as error:
        with path.open("rb") as stream:
            begins_as_zip = stream.read(4) == b"PK\x03\x04"
        wrong = "is truncated or damaged" if begins_as_zip else "is not a zip archive"
        raise UsageError(f"{title} {wrong} ({error}); make or download it again.") from error
