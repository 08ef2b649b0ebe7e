"""LSUN's LMDB folders, read directly: torchvision's reader stores its index as a pickle next to the data."""

import importlib
from io import BytesIO
from pathlib import Path
from typing import Any

from priorkit.errors import UsageError

__all__ = ["LsunPhotographs"]


class LsunPhotographs:
    """The photographs of one category and split, sorted by key.

    Raises UsageError without the package lmdb, and if the folder is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        try:
            lmdb = importlib.import_module("lmdb")
        except ImportError as error:
            raise UsageError(f"LSUN needs the package lmdb ({error}): pip install lmdb.") from error
        if not folder.is_dir():
            raise UsageError(f"There is no folder {folder}; download LSUN's archive of that name and unpack it there.")
        try:
            self._environment: Any = lmdb.open(str(folder), readonly=True, lock=False, readahead=False, meminit=False)
            with self._environment.begin() as transaction:
                self._keys: list[bytes] = list(transaction.cursor().iternext(values=False))
        except lmdb.Error as error:
            raise UsageError(f"{folder} cannot be read as LMDB ({error}); download it again.") from error
        if not self._keys:
            raise UsageError(f"{folder} contains no photographs; download it again.")

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> tuple[Any, None]:
        """Return the photograph as a PIL image, and no label."""
        from PIL import Image

        with self._environment.begin() as transaction:
            data = transaction.get(self._keys[index])
        return Image.open(BytesIO(data), formats=("WEBP", "JPEG", "PNG")), None
