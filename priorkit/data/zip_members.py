"""A zip archive of images, read member by member and never extracted."""

import hashlib
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from stat import S_ISLNK

from priorkit.data.image_files import LABEL_FILE, ImageFiles
from priorkit.errors import UsageError

__all__ = ["ZipMembers"]

LARGEST_FILE = 2**28
"""Largest size in bytes of an image file; training images are much smaller."""
PACKED = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
"""Compression methods that can be read up to a limit; zipfile unpacks the others without one."""


class ZipMembers(ImageFiles):
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
        # Of the open file: the path may already be another file.
        stream = self._zip.fp
        if stream is None:
            raise ValueError(f"{self.title} is closed")
        stream.seek(0)
        return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]

    def close(self) -> None:
        self._zip.close()

    def _check_directory(self) -> None:
        """Validate every size, position and name in the archive's directory before it is used."""
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
    except (OSError, ValueError):  # ValueError: no file can have this name
        return False
