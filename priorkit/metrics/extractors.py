"""Extractors by name: one declared by a package, a TorchScript file, or `module:function`.

A TorchScript file is a program. Loading it runs no Python and unpickles nothing, but it may call every operator of torch,
some of which read and write files; like a module, it should come only from a trusted source.
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

from priorkit.core import DataSpec, FeatureExtractor, Features
from priorkit.errors import PriorkitError, UsageError, said
from priorkit.metrics.features import features_for
from priorkit.registry import installed
from priorkit.registry.contract import RESERVED
from priorkit.runtime.memory import ran_out
from priorkit.runtime.user_path import user_path

__all__ = ["FunctionExtractor", "open_extractor"]

SCRIPTS = (".pt", ".pth", ".ts", ".jit", ".torchscript")
DOWNLOAD = "download"


class FunctionExtractor(FeatureExtractor):
    """A user's function that maps images (B, C, H, W), uint8, to features (B, F), or to a pair of them and logits (B, K)."""

    def __init__(
        self, name: str, function: Callable[[Tensor], Any], about: str, *, fingerprint: str = "", device: torch.device | str
    ) -> None:
        super().__init__(device=device)
        self.name, self.function, self.about, self.fingerprint = name, function, about, fingerprint

    def __call__(self, images: Tensor) -> Features:
        """Return the function's result. Raises UsageError if it is neither a tensor nor a pair."""
        found = self.function(images)
        if isinstance(found, Tensor):
            return Features(found)
        if isinstance(found, tuple) and len(found) == 2 and all(isinstance(part, Tensor) for part in found):
            return Features(*found)
        raise UsageError(f"features '{self.name}': expected a tensor, or a pair of tensors, got {type(found).__name__}")


def open_extractor(
    name: str, spec: DataSpec, *, weights: str | None = None, device: torch.device | str = "cpu"
) -> FeatureExtractor:
    """Return the extractor of that name for images like these.

    `auto` is the built-in classifier for images of this shape, else Inception. `weights` is a file for an extractor that
    reads one, or 'download'. Raises UsageError for missing or unusable files and names, PluginError for a broken plugin.
    """
    if name == "auto":
        name = features_for(spec) or "inception"
    if installed().knows("extractor", name):
        return _declared(name, weights, device)
    if weights is not None:
        raise UsageError(f"--feature-weights: the features {name!r} have no use for a file of weights; leave it out.")
    if name.lower().endswith(SCRIPTS):
        return _of_script(user_path(name), device)
    if ":" in name:
        return _of_function(name, device)
    known = ", ".join(["auto", *installed().names("extractor")])
    files = f"a TorchScript FILE ({', '.join(SCRIPTS)})"
    raise UsageError(f"features: there are none called {name!r}; there are {known}, {files} and module:function.")


def _declared(name: str, weights: str | None, device: torch.device | str) -> FeatureExtractor:
    """Return an extractor declared by a package, on that device."""
    entry = installed().resolve("extractor", name)
    kind = installed().load_entry(entry)
    try:
        file = kind.download() if weights == DOWNLOAD else None if weights is None else Path(weights)
        made: FeatureExtractor = kind(weights=file, device=device)
    except PriorkitError:
        raise
    except Exception as error:  # third-party code may raise anything
        if entry.own or ran_out(error):
            raise
        raise UsageError(f"plugin {entry.key} of {entry.origin} raised {said(error)}") from error
    made.name = entry.name if entry.own else _figure_name(entry.name)
    if not entry.own:
        made.about = f"{made.about} (plugin of {entry.origin})"
    return made


def _of_script(path: Path, device: torch.device | str) -> FeatureExtractor:
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


def _of_function(name: str, device: torch.device | str) -> FeatureExtractor:
    module, _, attribute = name.partition(":")
    try:
        function = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        where = f"modules are looked for in {sys.path[0] or 'the current folder'} and where Python finds its own"
        raise UsageError(f"features {name!r}: {error}; {where}, so set PYTHONPATH.") from error
    except Exception as error:  # a third-party module may raise anything
        raise UsageError(f"features {name!r}: importing it raised {said(error)}") from error
    if not callable(function):
        raise UsageError(f"features {name!r}: it is {type(function).__name__}, not a function of images.")
    return FunctionExtractor(_figure_name(attribute), function, f"features of the function {name}", device=device)


def _figure_name(text: str) -> str:
    """Return the name for the metrics; never the name of a built-in extractor."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "features"
    return f"{name}_foreign" if name in {*RESERVED["extractor"], *installed().own_names("extractor")} else name
