"""The code of third-party plugins as a part of what identifies a run, so that changed code does not reuse old metrics.

Built-in plugins change with priorkit's version, which a comparison may outlive; only their options count.
"""

import hashlib
import inspect
import json
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from priorkit.config import RunConfig
from priorkit.registry import Entry, installed
from priorkit.registry.entry import THIS_PROCESS

__all__ = ["third_party"]


def third_party(config: RunConfig, kinds: Iterable[str]) -> dict[str, Any]:
    """Return package, version and code of each third-party plugin of those kinds, under `third_party`; empty if all are
    built-in, so that nothing is added to the hash."""
    registry = installed()
    named = [(kind, getattr(config, kind).name) for kind in kinds]
    entries = [registry.resolve(kind, name) for kind, name in named if registry.knows(kind, name)]
    found = {entry.key: [entry.distribution, *_content(entry)] for entry in entries if not entry.own}
    return {"third_party": found} if found else {}


def _content(entry: Entry) -> list[str]:
    """Return the version and a hash of the code."""
    if entry.distribution == THIS_PROCESS:
        # For these the version only counts registrations.
        return [_digest(_source(installed().load_entry(entry)))]
    files = _files(entry.target.partition(":")[0])
    return [entry.version, _digest({name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()})]


def _files(module: str) -> dict[str, Path]:
    """Return the Python files of a module's outermost package (or the module's file), by their path in it."""
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        spec = find_spec(".".join(parts[:depth]))
        if spec is None:
            return {}
        if spec.origin is not None and spec.origin.endswith(".py"):  # a namespace package has no such file
            place = Path(spec.origin)
            folder = place.parent
            found = folder.rglob("*.py") if spec.submodule_search_locations is not None else [place]
            return {path.relative_to(folder).as_posix(): path for path in sorted(found) if path.is_file()}
    return {}


def _source(component: Any) -> str:
    """Return the source text of a class or function; empty if it is not available."""
    try:
        return inspect.getsource(component)
    except (OSError, TypeError):
        return ""


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
