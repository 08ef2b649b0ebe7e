"""The parts of torch-fidelity that are used here, imported on first use.

Its command, its cache (which is keyed by name alone and unpickles) and its readers of image files are not used. Those
readers are why it imports torchvision; if that is missing, or was built for another torch, a stub replaces it during the
import, and torch-fidelity's readers and its extractors other than Inception are not available. Of CLIP only the network is
used, which needs no torchvision.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from priorkit.errors import UsageError

__all__ = ["Library", "fidelity_library"]

ABSENT = "sample fidelity needs the library torch-fidelity: pip install 'torch-fidelity>=0.4,<0.5'"


@dataclass(frozen=True)
class Library:
    """Functions and classes of torch-fidelity, with its names."""

    version: str
    fid_features_to_statistics: Callable[..., Any]
    fid_statistics_to_metric: Callable[..., Any]
    isc_features_to_metric: Callable[..., Any]
    kid_features_to_metric: Callable[..., Any]
    prc_features_to_metric: Callable[..., Any]
    inception: type[Any]
    inception_url: str
    clip_model: Callable[..., Any]
    """Makes CLIP's network of images from tensors by name, of a dtype."""
    clip_urls: Mapping[str, str]
    clip_hashes: Mapping[str, Mapping[str, str]]


@cache
def fidelity_library() -> Library:
    """Return the library. Raises UsageError if it is not installed."""
    try:
        with _torchvision():
            top = import_module("torch_fidelity")
            fid, isc, kid, prc = (import_module(f"torch_fidelity.metric_{name}") for name in ("fid", "isc", "kid", "prc"))
            inception = import_module("torch_fidelity.feature_extractor_inceptionv3")
            clip = import_module("torch_fidelity.feature_extractor_clip")
    except ImportError as error:
        raise UsageError(f"{ABSENT} ({error})") from error
    return Library(
        top.__version__,
        fid.fid_features_to_statistics,
        fid.fid_statistics_to_metric,
        isc.isc_features_to_metric,
        kid.kid_features_to_metric,
        prc.prc_features_to_metric,
        inception.FeatureExtractorInceptionV3,
        inception.URL_INCEPTION_V3,
        clip.build_model,
        clip.MODEL_URLS,
        clip.MODEL_METADATA,
    )


@contextmanager
def _torchvision() -> Iterator[None]:
    """Make torchvision importable inside the block; a stub is removed afterwards."""
    before = set(sys.modules)
    try:
        import_module("torchvision")
    except (ImportError, OSError, RuntimeError):
        # A build for another torch fails half-way and leaves its modules behind.
        _forget(before)
        sys.modules.update(_stand_in())
        try:
            yield
        finally:
            _forget(before)
    else:
        yield


def _forget(before: set[str]) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision" and name not in before]:
        del sys.modules[name]


def _stand_in() -> dict[str, ModuleType]:
    """Return the parts of torchvision that are used when torch-fidelity is imported."""
    names = ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional")
    modules = {name: ModuleType(name) for name in names}
    for name in names[1:]:
        above, _, last = name.rpartition(".")
        setattr(modules[above], last, modules[name])
    for name in ("CIFAR10", "CIFAR100", "STL10"):
        setattr(modules["torchvision.datasets"], name, type(name, (), {}))
    return modules
