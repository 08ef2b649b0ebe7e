"""Archives and folders of images: files and labels checked, pixels decoded once."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from priorkit.core import DataSource, DataSpec, Progress, no_progress
from priorkit.data.cache import Pixels, cached_pixels
from priorkit.data.dataset import Dataset, class_count, undivided
from priorkit.data.decode import decode_blocks, image_shape
from priorkit.data.examples import Images
from priorkit.data.folder_files import FolderFiles
from priorkit.data.image_files import ImageFiles
from priorkit.data.labels import read_labels
from priorkit.data.zip_members import ZipMembers
from priorkit.errors import UsageError
from priorkit.runtime.user_path import user_path

__all__ = ["FolderImages", "ZipImages", "read_images"]


def read_images(name: str, *, cache: Path | None = None, progress: Progress = no_progress) -> tuple[DataSpec, Images, str]:
    """Return all images of 'zip:FILE' or 'folder:DIR' sorted by name, and the hash of the content."""
    source = _source(name)
    try:
        labels = read_labels(source.label_file(), source.names, source.title)
        shape = image_shape(source)
        content = source.content()
        decode = partial(_decoded, source, shape, content, progress)
        pixels = cached_pixels(content, (len(source.names), *shape), decode, cache)
    finally:
        source.close()
    images = Images(pixels, None if labels is None else torch.from_numpy(labels))
    return DataSpec(name, shape, 256, class_count(images.labels)), images, content


def _decoded(source: ImageFiles, shape: tuple[int, int, int], content: str, progress: Progress) -> Iterator[Pixels]:
    """Yield the images; raises if their content hash is not the given one, since the cache uses it as a key."""
    yield from decode_blocks(source, shape, progress)
    if source.content() != content:
        raise UsageError(f"{source.title}: has changed while it was read; run the command again.")


def _source(name: str) -> ImageFiles:
    kind, _, place = name.partition(":")
    if not place:
        raise UsageError(f"{name!r} does not name {('an archive' if kind == 'zip' else 'a folder')}: write {kind}:PATH.")
    if "://" in place:
        raise UsageError(
            f"{name}: archives and folders are read from a local disk, not from an address. Download it "
            f"and use {kind}:PATH; only a store of images in Zarr version 3 can be streamed, with "
            "stream:URL."
        )
    path = user_path(place)
    return ZipMembers(path) if kind == "zip" else FolderFiles(path)


class ZipImages(DataSource):
    """Image files in an archive, read member by member and never extracted."""

    places = ("FILE",)
    divided = False
    scheme = "zip"

    def __call__(
        self,
        root: Path | None = None,
        *,
        place: str = "",
        cache: Path | None = None,
        progress: Progress = no_progress,
        download: bool = False,
    ) -> Dataset:
        """Return all images, sorted by name."""
        return undivided(*read_images(f"{self.scheme}:{place}", cache=cache, progress=progress))


class FolderImages(ZipImages):
    """Image files in a folder and all its subfolders."""

    places = ("DIR",)
    scheme = "folder"
