"""Extractors by name: Inception, the shipped classifiers, a plugin's, a TorchScript file, or `module:function`.

A TorchScript file is a program.  Loading it runs no Python and unpickles nothing, but what it computes may call every
operator of torch, of which some read and write files; like a module it is to be used only from somebody one trusts.
"""

import hashlib
import io
import re
import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from priorkit.core import DataSpec
from priorkit.errors import PriorkitError, UsageError, said
from priorkit.metrics.extractor import Extractor, Features
from priorkit.metrics.features import FEATURE_SETS, FeatureNetwork, feature_network, features_for
from priorkit.metrics.inception import Inception, download_inception
from priorkit.registry import installed
from priorkit.registry.contract import RESERVED
from priorkit.runtime.memory import ran_out
from priorkit.runtime.user_path import user_path

__all__ = ["FunctionExtractor", "ShippedExtractor", "open_extractor"]

SCRIPTS = (".pt", ".pth", ".ts", ".jit", ".torchscript")
DOWNLOAD = "download"


class ShippedExtractor(Extractor):
    """A small classifier of the package; its name is that of its set of images."""

    def __init__(self, name: str, *, device: torch.device | str = "cpu") -> None:
        super().__init__(device=device)
        self.name = name
        self.network: FeatureNetwork = feature_network(name).to(self.device)
        self.fingerprint = self.network.fingerprint
        kind = self.network.kind
        self.about = f"{kind.features} standardised features of the '{name}' classifier (weights {self.fingerprint})"

    def __call__(self, images: Tensor) -> Features:
        """Of images of the set's shape, uint8."""
        scaled = images.float() / 255
        vectors = self.network(scaled)
        return Features(vectors, self.network.classifier(torch.relu(vectors)))


class FunctionExtractor(Extractor):
    """A user's function of images (B, C, H, W), uint8, that gives features (B, F), or a pair of them and logits (B, K)."""

    def __init__(
        self, name: str, function: Callable[[Tensor], Any], about: str, *, fingerprint: str = "", device: torch.device | str
    ) -> None:
        super().__init__(device=device)
        self.name, self.function, self.about, self.fingerprint = name, function, about, fingerprint

    def __call__(self, images: Tensor) -> Features:
        """What the function gives; raises UsageError where that is neither a tensor nor two."""
        found = self.function(images)
        if isinstance(found, Tensor):
            return Features(found)
        if isinstance(found, tuple) and len(found) == 2 and all(isinstance(part, Tensor) for part in found):
            return Features(*found)
        raise UsageError(f"features '{self.name}': expected a tensor, or a pair of tensors, got {type(found).__name__}")


def open_extractor(
    name: str, spec: DataSpec, *, weights: str | None = None, device: torch.device | str = "cpu"
) -> Extractor:
    """The extractor of that name for images like these.

    `auto` is the shipped classifier for images of this shape, else Inception.  `weights` is a file for Inception or a
    plugin, or 'download'.  Raises UsageError for what is not there or cannot be used, PluginError for a broken plugin.
    """
    if name == "auto":
        name = features_for(spec) or "inception"
    if name == "inception":
        file = download_inception() if weights == DOWNLOAD else _path(weights)
        return Inception(weights=file, device=device)
    if installed().knows("extractor", name):
        return _of_plugin(name, _path(weights), device)
    if weights is not None:
        raise UsageError(f"--feature-weights: the features {name!r} have no use for a file of weights; leave it out.")
    if name in FEATURE_SETS:
        return ShippedExtractor(name, device=device)
    if name.lower().endswith(SCRIPTS):
        return _of_script(user_path(name), device)
    if ":" in name:
        return _of_function(name, device)
    known = ", ".join(["auto", "inception", *FEATURE_SETS, *installed().names("extractor")])
    files = f"a TorchScript FILE ({', '.join(SCRIPTS)})"
    raise UsageError(f"features: there are none called {name!r}; there are {known}, {files} and module:function.")


def _path(weights: str | None) -> Path | None:
    if weights == DOWNLOAD:
        raise UsageError("--feature-weights download is for inception alone; name a file.")
    return None if weights is None else Path(weights)


def _of_plugin(name: str, weights: Path | None, device: torch.device | str) -> Extractor:
    entry = installed().resolve("extractor", name)
    try:
        made: Extractor = installed().load_entry(entry)(weights=weights, device=device)
    except PriorkitError:
        raise
    except Exception as error:  # a third party's code may raise anything
        if ran_out(error):
            raise
        raise UsageError(f"plugin {entry.key} of {entry.origin} raised {said(error)}") from error
    # Two plugins cannot have one name, and none that of an extractor of ours.
    made.name = _figure_name(entry.name)
    made.about = f"{made.about} (plugin of {entry.origin})"
    return made


def _of_script(path: Path, device: torch.device | str) -> Extractor:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"features: {path} cannot be read ({error.strerror or error}).") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            module: nn.Module = torch.jit.load(io.BytesIO(content), map_location=device)  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise UsageError(f"features: {path} is no TorchScript file ({str(error).strip().splitlines()[0][:200]}).") from error
    fingerprint = hashlib.sha256(content).hexdigest()[:16]
    about = f"features of the TorchScript file {path.name} (SHA-256 {fingerprint[:8]})"
    return FunctionExtractor(_figure_name(path.stem), module.eval(), about, fingerprint=fingerprint, device=device)


def _of_function(name: str, device: torch.device | str) -> Extractor:
    module, _, attribute = name.partition(":")
    try:
        function = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        where = f"modules are looked for in {sys.path[0] or 'the current folder'} and where Python finds its own"
        raise UsageError(f"features {name!r}: {error}; {where}, so set PYTHONPATH.") from error
    except Exception as error:  # a third party's module may raise anything
        raise UsageError(f"features {name!r}: importing it raised {said(error)}") from error
    if not callable(function):
        raise UsageError(f"features {name!r}: it is {type(function).__name__}, not a function of images.")
    return FunctionExtractor(_figure_name(attribute), function, f"features of the function {name}", device=device)


def _figure_name(text: str) -> str:
    """What figures are called after; never the name of an extractor of ours."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "features"
    return f"{name}_foreign" if name in RESERVED["extractor"] else name
