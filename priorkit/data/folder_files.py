"""The image files of a folder."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from priorkit.data.image_files import ImageFiles
from priorkit.errors import UsageError

__all__ = ["FolderFiles"]

BLOCK = 2**20
"""Number of bytes hashed at once."""


class FolderFiles(ImageFiles):
    """A folder and all its subfolders, including links to folders."""

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
                    while block := stream.read(BLOCK):
                        digest.update(block)
            except OSError as error:
                raise self._unreadable(name, error) from error
        return digest.hexdigest()

    def close(self) -> None:
        pass

    def _files(self) -> Iterator[str]:
        """Yield the names of all files. Raises UsageError for a folder that cannot be listed or that links reach twice."""

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
        if not S_ISREG(status.st_mode):  # a pipe, say, would block forever
            raise UsageError(f"{self.title}: {name!r} is not a regular file; remove it.")
        return (self._path / name).open("rb")

    def _unreadable(self, name: str, error: OSError) -> UsageError:
        return UsageError(f"{self.title}: {name!r} cannot be read ({error.strerror}).")
