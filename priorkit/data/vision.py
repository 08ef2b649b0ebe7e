"""torchvision's data sets, read from a local folder; downloaded only on explicit request.

torchvision is an optional extra, imported when such a set is used. The small sets come decoded (CIFAR's files are pickles,
which torchvision compares with their published MD5 before it reads them); the photographs of CelebA and LSUN are cropped,
resized and cached.
"""

import hashlib
import importlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from priorkit.core import DataSource, DataSpec, Progress, no_progress
from priorkit.data.cache import cached_pixels
from priorkit.data.dataset import Dataset, class_count, hash_arrays
from priorkit.data.decode import map_blocks
from priorkit.data.examples import Images
from priorkit.data.lsun import LsunPhotographs
from priorkit.errors import UsageError
from priorkit.runtime.user_path import user_path

__all__ = ["Crop", "VisionSet"]

SIDE = 64
"""Height and width to which CelebA and LSUN are resized."""


Crop = Callable[[int, int], tuple[int, int, int, int]]
"""Width and height to the box (left, top, right, bottom)."""


class VisionSet(DataSource):
    """One of torchvision's sets, with its train and test split, from root or PRIORKIT_DATA."""

    name: ClassVar[str]
    maker: ClassVar[str | None]
    """A class of torchvision.datasets; None for LSUN, which is read here."""
    train: ClassVar[dict[str, Any]] = {"train": True}
    heldout: ClassVar[dict[str, Any]] = {"train": False}
    """torchvision's arguments for the two splits."""
    files: ClassVar[tuple[str, str]] = ("", "")
    """For sets of photographs: the paths that are hashed for each split, relative to the root."""
    cut: ClassVar[str] = ""
    """For sets of photographs, which are cropped and resized to 64x64: a description of `crop`."""

    def __call__(
        self,
        root: Path | None = None,
        *,
        place: str = "",
        cache: Path | None = None,
        progress: Progress = no_progress,
        download: bool = False,
    ) -> Dataset:
        """Return both splits.

        Raises UsageError without torchvision, without a root, and if the files are missing and not to be downloaded.
        """
        folder = _root(self.name, root)
        if download and self.maker is None:
            files = " and ".join(self.files)
            raise UsageError(f"{self.name} is not downloaded automatically; download and unpack {files} in {folder}.")
        parts = [
            self._split(options, files, folder, cache, progress, download)
            for options, files in zip((self.train, self.heldout), self.files, strict=True)
        ]
        (train, train_content), (heldout, heldout_content) = parts
        spec = DataSpec(self.name, train.shape, 256, class_count(train.labels))
        content = hashlib.sha256(f"{train_content}{heldout_content}".encode()).hexdigest()
        how = f"{len(train):,} train / {len(heldout):,} test, the set's own split"
        if self.cut:
            how += f"; {self.cut}, resized to {SIDE}x{SIDE} (bicubic)"
        return Dataset(spec, train, heldout, content, how)

    @staticmethod
    def crop(width: int, height: int) -> tuple[int, int, int, int]:
        """Return the box (left, top, right, bottom) that is used, for a photograph's width and height."""
        return 0, 0, width, height

    def _split(
        self, options: dict[str, Any], files: str, root: Path, cache: Path | None, progress: Progress, download: bool
    ) -> tuple[Images, str]:
        """Return the images of one split and their hash."""
        name, maker = self.name, self.maker
        source = LsunPhotographs(root / files) if maker is None else _open(name, maker, root, options, download)
        if not self.cut:
            return _decoded(source)
        return _photographs(f"{name} {options or files}", self.crop, source, root / files, cache, progress)


def _root(name: str, root: Path | None) -> Path:
    place = root or os.environ.get("PRIORKIT_DATA")
    if not place:
        raise UsageError(
            f"{name}: give the folder of its files with --set data.root=DIR or the environment variable PRIORKIT_DATA."
        )
    return user_path(place)


def _open(name: str, maker_name: str, root: Path, options: dict[str, Any], download: bool) -> Any:
    try:
        maker = getattr(importlib.import_module("torchvision.datasets"), maker_name)
    # RuntimeError: torchvision was built for another torch.
    except (ImportError, RuntimeError) as error:
        raise UsageError(f"{name} needs torchvision ({error}): pip install 'priorkit[vision]'.") from error
    try:
        return maker(str(root), download=download, **options)
    # ImportError: a package that the set itself needs, such as scipy for SVHN.
    except ImportError as error:
        raise UsageError(f"{name} needs another package: {error}") from error
    # torchvision raises RuntimeError for missing files, and parsers of damaged ones may raise anything.
    except Exception as error:
        hint = "" if download else " Check root, or fetch it with download=True."
        raise UsageError(f"{name}: torchvision cannot read it in {root} ({error}).{hint}") from error


def _decoded(source: Any) -> tuple[Images, str]:
    """Return a set that torchvision holds as one array: (N, H, W), (N, H, W, 3) or, for SVHN, (N, 3, H, W)."""
    pixels = np.asarray(source.data)
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    elif pixels.shape[3] == 3 and pixels.shape[1] != 3:
        pixels = pixels.transpose(0, 3, 1, 2)
    pixels = np.require(pixels, dtype=np.uint8, requirements=["C", "W"])
    labels = np.asarray(source.labels if hasattr(source, "labels") else source.targets, dtype=np.int64)
    return Images(pixels, torch.from_numpy(labels)), hash_arrays(pixels, labels)


def _photographs(
    title: str, crop: Crop, source: Any, files: Path, cache: Path | None, progress: Progress
) -> tuple[Images, str]:
    """Return a set whose photographs torchvision decodes one by one, cropped and resized; without labels."""
    content = _hash_files(files, f"{title}/{len(source)}/{SIDE}")
    one = partial(_resized, source, crop, title)

    def decode() -> Iterator[NDArray[np.uint8]]:
        return map_blocks(one, len(source), (3, SIDE, SIDE), f"decoding {title}", progress)

    return Images(cached_pixels(content, (len(source), 3, SIDE, SIDE), decode, cache)), content


def _resized(source: Any, crop: Crop, title: str, index: int) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        image, _ = source[index]
        small = image.convert("RGB").crop(crop(*image.size)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    # Decoders may raise anything on damaged bytes.
    except Exception as error:
        raise UsageError(f"{title}: image {index} cannot be read ({error}).") from error
    return np.asarray(small).transpose(2, 0, 1)


def _hash_files(folder: Path, what: str) -> str:
    """Return the SHA-256 of names, sizes and bytes below a folder."""
    digest = hashlib.sha256(what.encode())
    for path in sorted(item for item in folder.rglob("*") if item.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
