"""What a run is made with: the versions that its config.yaml records."""

import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from priorkit.config.layers import read_file
from priorkit.registry import Entry, installed
from priorkit.registry.entry import THIS_PROCESS, normalised
from priorkit.registry.registry import matches

__all__ = ["VERSIONS", "absent", "recorded_versions", "versions"]

VERSIONS = "versions"
"""The section that a written file carries beside the configuration: a record, never read back as options."""
ALWAYS = ("python", "torch", "priorkit")


def versions(entries: Sequence[Entry], components: Sequence[type[Any]], options: Any) -> dict[str, str]:
    """Python, torch, the distributions of the plugins and of classes that options name by import string, and the libraries
    that a class says it needs (its attribute `libraries`), as far as they are installed."""
    named = list(_named(options))
    classes = [*components, *(getattr(sys.modules.get(module), attribute, None) for module, attribute in named)]
    origins = [*entries, *(entry for module, _ in named for entry in installed().of_module(module))]
    plugins = {entry.distribution: entry.version for entry in origins}
    libraries = {name: _version(name) for kind in classes for name in getattr(kind, "libraries", ())}
    found = {**plugins, **libraries, "priorkit": version("priorkit")}
    return {"python": platform.python_version(), "torch": version("torch"), **{k: v for k, v in found.items() if v}}


def _named(options: Any) -> Iterator[tuple[str, str]]:
    """Module and attribute of every import string among options, at any depth."""
    if isinstance(options, Mapping):
        options = list(options.values())
    if isinstance(options, list):
        for item in options:
            yield from _named(item)
    elif isinstance(options, str) and re.fullmatch(r"[\w.]+:\w+", options):
        module, _, attribute = options.partition(":")
        yield module, attribute


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def recorded_versions(file: Path) -> dict[str, str]:
    """The versions that a run's config.yaml records, by distribution; empty where it has no such record."""
    return _record(read_file(file)[0])


def absent(tree: Mapping[str, Any], kind: str, name: str) -> str:
    """What a run's configuration tells of the package of a plugin that is not installed here; empty if nothing."""
    if any(entry.kind == kind and matches(entry, name) for entry in installed().entries):
        return ""
    record, wanted = _record(tree), normalised(name.rpartition(":")[0])
    found = {
        distribution: recorded
        for distribution, recorded in record.items()
        if distribution not in ALWAYS and wanted in ("", normalised(distribution)) and not _version(distribution)
    }
    if THIS_PROCESS in found:
        return (
            f"unknown {kind} {name!r}: it was registered only in the process of the run; register it here "
            "with priorkit.register, then read the run."
        )
    if not found:
        return ""
    packages = " and ".join(" ".join(item) for item in found.items())
    needed = " ".join("==".join(item) for item in found.items())
    are = "are" if len(found) > 1 else "is"
    return f"unknown {kind} {name!r}: the run was made with {packages}, which {are} not installed; install {needed}."


def _record(tree: Mapping[str, Any]) -> dict[str, str]:
    record = tree.get(VERSIONS)
    return {str(name): str(value) for name, value in record.items()} if isinstance(record, Mapping) else {}
