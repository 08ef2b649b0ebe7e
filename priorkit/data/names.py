"""Data sets by name."""

import hashlib
from dataclasses import replace
from pathlib import Path

from priorkit.core import DataSpec, Progress, no_progress
from priorkit.core.single import single_precision
from priorkit.data.dataset import Dataset
from priorkit.data.declared import Named, named, schemes, suggestion
from priorkit.data.examples import Split
from priorkit.data.holdout import divide
from priorkit.errors import UsageError

__all__ = ["load", "load_foreign"]


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
    """Return a data set by its name: digits, toy:NAME, zip:FILE, folder:DIR, stream:PLACE, torchvision's, or a plugin's.

    `root` is the folder of torchvision's sets (else PRIORKIT_DATA), and download=True downloads them there; `cache` is the
    folder for decoded images (else PRIORKIT_CACHE, else the platform's folder). For archives, folders and stores, which have
    no splits, `holdout` is the held-out share (default 10 %, at most 5,000; 0 for none), or `heldout` names a second one of
    them. Raises a UsageError that names the problem, for files with the member and its index.
    """
    if not isinstance(name, str):
        raise UsageError(f"data: expected a name such as 'digits' or 'zip:FILE', got {name!r:.60}.")
    asked = _named(name)
    if asked.source.divided and (holdout is not None or heldout is not None):
        raise UsageError(f"{name} has its own split; holdout and heldout are for {schemes()}.")
    if heldout is not None:
        return _pair(asked, heldout, holdout, cache, progress)
    data = asked.open(root=root, cache=cache, progress=progress, download=download)
    if asked.source.divided:
        return data
    rows, held, protocol = divide(len(data.train), data.content, holdout, name)
    return replace(data, train=data.train.subset(rows), heldout=data.train.subset(held), protocol=protocol)


@single_precision()
def load_foreign(
    name: str, *, root: Path | None = None, cache: Path | None = None, progress: Progress = no_progress
) -> tuple[DataSpec, Split]:
    """Return the data for evaluating a model trained on other data: the held-out split, or a whole archive, folder or
    store."""
    asked = _named(name)
    data = asked.open(root=root, cache=cache, progress=progress)
    return data.spec, data.heldout if asked.source.divided else data.train


def _named(name: str) -> Named:
    found = named(name)
    if found is None:
        raise UsageError(f"Unknown data set {name!r}{suggestion(name)}")
    return found


def _pair(train: Named, heldout: str, holdout: float | None, cache: Path | None, progress: Progress) -> Dataset:
    """Return two archives, folders or stores as the two splits of one data set."""
    if holdout is not None:
        raise UsageError(f"{train.name}: give either heldout={heldout} or a held-out fraction (holdout), not both.")
    second = named(heldout)
    if second is None or second.source.divided:
        raise UsageError(f"heldout must name {schemes('or')}, got {heldout!r}.")
    first, other = (one.open(cache=cache, progress=progress) for one in (train, second))
    spec = first.spec
    if spec.shape != other.spec.shape:
        raise UsageError(f"{heldout}: its images are {other.spec.shape} (C, H, W), those of {train.name} are {spec.shape}.")
    if (spec.classes == 0) != (other.spec.classes == 0):
        bare = heldout if other.spec.classes == 0 else train.name
        raise UsageError(f"{bare} has no labels, but the other split has; label both or neither.")
    return Dataset(
        replace(spec, classes=max(spec.classes, other.spec.classes)),
        first.train,
        other.train,
        hashlib.sha256(f"{first.content}{other.content}".encode()).hexdigest(),
        f"{len(first.train):,} train / {len(other.train):,} held out, two sources ({heldout})",
    )
