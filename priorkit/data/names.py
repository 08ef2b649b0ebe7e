"""Data by name."""

import difflib
import hashlib
from dataclasses import replace
from pathlib import Path

from priorkit.core import DataSpec, Progress, no_progress
from priorkit.core.single import single_precision
from priorkit.data.archives import read_images
from priorkit.data.dataset import Dataset
from priorkit.data.digits import load_digits
from priorkit.data.examples import Images, Split
from priorkit.data.holdout import divide
from priorkit.data.stores import read_store
from priorkit.data.streamed import Streamed
from priorkit.data.toys import TOYS, load_toy
from priorkit.data.vision import VISION_SETS, load_vision
from priorkit.errors import PluginError, PriorkitError, UsageError, said
from priorkit.registry import installed
from priorkit.runtime.memory import ran_out
from priorkit.runtime.user_path import user_path

__all__ = ["load", "load_foreign"]

NAMES = ("digits", *(f"toy:{toy}" for toy in TOYS), *VISION_SETS)
PATHS = ("zip", "folder", "stream")
OF_PATHS = "zip:FILE, folder:DIR and stream:PLACE"


@single_precision()
def load(
    name: str,
    *,
    root: Path | None = None,
    cache: Path | None = None,
    progress: Progress = no_progress,
    holdout: float | None = None,
    heldout: str | None = None,
    download: bool = False,
) -> Dataset:
    """A data set by its name: digits, toy:NAME, zip:FILE, folder:DIR, stream:PLACE, torchvision's, or a plugin's.

    root is where torchvision's sets lie (else PRIORKIT_DATA), and download=True fetches them there; cache is where decoded
    images are kept (else PRIORKIT_CACHE, else the platform's folder).  Archives, folders and stores have no split of their
    own: holdout is the share held out (default 10 %, at most 5,000; 0 for none), or heldout names a second one of them.
    Raises UsageError naming what is wrong, for files with the member and its index.
    """
    if not isinstance(name, str):
        raise UsageError(f"data: expected a name such as 'digits' or 'zip:FILE', got {name!r:.60}.")
    if name.partition(":")[0] in PATHS:
        if heldout is not None:
            return _pair(name, heldout, holdout, cache, progress)
        spec, images, content = _images(name, cache, progress)
        rows, held, protocol = divide(len(images), content, holdout, name)
        return Dataset(spec, images.subset(rows), images.subset(held), content, protocol)
    if holdout is not None or heldout is not None:
        raise UsageError(f"{name} has its own split; holdout and heldout are for {OF_PATHS}.")
    return _named(name, root, cache, progress, download)


@single_precision()
def load_foreign(
    name: str, *, root: Path | None = None, cache: Path | None = None, progress: Progress = no_progress
) -> tuple[DataSpec, Split]:
    """What a model trained on other data is measured on: the held-out split, or the whole of an archive, folder or store."""
    if name.partition(":")[0] in PATHS:
        spec, images, _ = _images(name, cache, progress)
        return spec, images
    data = load(name, root=root, cache=cache, progress=progress)
    return data.spec, data.heldout


def _named(name: str, root: Path | None, cache: Path | None, progress: Progress, download: bool) -> Dataset:
    if name == "digits":
        return load_digits()
    if name.startswith("toy:") and name in NAMES:
        return load_toy(name)
    if name in VISION_SETS:
        return load_vision(name, root=root, cache=cache, progress=progress, download=download)
    if name.rpartition(":")[2] in installed().names("data"):
        return _of_plugin(name, root)
    raise UsageError(f"Unknown data set {name!r}{_suggestion(name)}")


def _images(name: str, cache: Path | None, progress: Progress) -> tuple[DataSpec, Images | Streamed, str]:
    """All images of an archive, a folder or a store, and the hash of the content."""
    return read_store(name) if name.startswith("stream:") else read_images(name, cache=cache, progress=progress)


def _of_plugin(name: str, root: Path | None) -> Dataset:
    """What a plugin of kind `data` gives.  Raises PluginError naming it where that is no data set."""
    entry = installed().resolve("data", name)
    source, told = installed().load_entry(entry), f"plugin {entry.key} of {entry.origin}"
    try:
        data = source(root)
    except PriorkitError:
        raise
    except Exception as error:  # a third party's code may raise anything
        if ran_out(error):
            raise
        raise PluginError(f"{told} failed with {said(error)}") from error
    if not isinstance(data, Dataset):
        raise PluginError(f"{told} returned {type(data).__name__}, not a priorkit.data.Dataset.")
    return data


def _suggestion(name: str) -> str:
    if "://" in name:
        return "; an address is read as stream:URL, a store of images. Download an archive, and name it zip:FILE."
    path = user_path(name)
    if path.is_dir():
        return f"; for the folder write folder:{name}."
    if path.is_file():
        return f"; for the archive write zip:{name}."
    plugins = installed().names("data")
    near = difflib.get_close_matches(name, [*NAMES, *TOYS, *plugins], n=1)
    nearest = f"; did you mean {'toy:' if near[0] in TOYS else ''}{near[0]!s}?" if near else "."
    return f"{nearest} Known are {', '.join([*NAMES, *plugins])}, {OF_PATHS}."


def _pair(train: str, heldout: str, holdout: float | None, cache: Path | None, progress: Progress) -> Dataset:
    """Two archives, folders or stores as the two splits of one data set."""
    if holdout is not None:
        raise UsageError(f"{train}: give either heldout={heldout} or a held-out fraction (holdout), not both.")
    if heldout.partition(":")[0] not in PATHS:
        raise UsageError(f"heldout must name zip:FILE, folder:DIR or stream:PLACE, got {heldout!r}.")
    spec, train_images, train_content = _images(train, cache, progress)
    other, heldout_images, heldout_content = _images(heldout, cache, progress)
    if spec.shape != other.shape:
        raise UsageError(f"{heldout}: its images are {other.shape} (C, H, W), those of {train} are {spec.shape}.")
    if (spec.classes == 0) != (other.classes == 0):
        bare = heldout if other.classes == 0 else train
        raise UsageError(f"{bare} has no labels, but the other split has; label both or neither.")
    return Dataset(
        replace(spec, classes=max(spec.classes, other.classes)),
        train_images,
        heldout_images,
        hashlib.sha256(f"{train_content}{heldout_content}".encode()).hexdigest(),
        f"{len(train_images):,} train / {len(heldout_images):,} held out, two sources ({heldout})",
    )
