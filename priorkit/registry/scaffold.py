"""Creates a plugin package from the templates in this folder."""

import re
import shutil
from importlib.resources import files
from pathlib import Path
from string import Template

from priorkit.errors import UsageError
from priorkit.registry.entry import discover
from priorkit.registry.loading import importable
from priorkit.registry.nearest import did_you_mean

__all__ = ["TEMPLATES", "scaffold"]

TEMPLATES = ("prior", "backbone", "sampler", "trainer", "data", "metric")
"""Kinds for which a package can be created."""

TRY_IT = {
    "backbone": "priorkit train --backbone $name --out runs/$name",
    "prior": "priorkit train --prior $name --out runs/$name",
    "sampler": "priorkit train --sampler $name --out runs/$name",
    "trainer": "priorkit train --trainer $name --out runs/$name",
    "data": "priorkit train --data $name --out runs/$name",
    "metric": "priorkit evaluate RUN --metrics $name",
}


def scaffold(name: str, kind: str, out: Path | None = None) -> Path:
    """Write a package with a small working plugin to `out` (default: ./priorkit-NAME), a new or empty folder; return the
    folder.

    Raises UsageError for an invalid kind, name or folder.
    """
    if kind not in TEMPLATES:
        raise UsageError(f"--kind: unknown kind {kind!r}: {did_you_mean(kind, TEMPLATES, plural='kinds')}")
    words = _words(name, kind)
    folder = Path(f"priorkit-{name}") if out is None else out
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: already exists; choose another folder with --out.")
    package = folder / "src" / words["module"]
    written = {
        folder / "pyproject.toml": "pyproject.toml",
        folder / "README.md": "README.md",
        package / "__init__.py": "init.py",
        package / f"{kind}.py": f"{kind}.py",
        folder / "tests" / "test_conformance.py": "test_conformance.py",
    }
    try:
        for path, template in written.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_filled(template, words), encoding="utf-8")
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)  # it was empty; its contents would prevent the next attempt
        raise UsageError(f"{folder}: cannot be written ({error.strerror}); choose another folder with --out.") from error
    return folder


def _words(name: str, kind: str) -> dict[str, str]:
    """Return the values of the templates' placeholders. Raises UsageError for a name that is taken or invalid."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise UsageError(
            f"{name!r}: the name of a plugin starts with a lower-case letter; then lower-case letters, "
            "digits and single hyphens."
        )
    taken = [entry for entry in discover() if (entry.kind, entry.name) == (kind, name)]
    if taken:
        raise UsageError(f"{kind}.{name} is already declared by {taken[0].origin}; choose another name.")
    variable = name.replace("-", "_")
    module = f"priorkit_{variable}"
    if importable(module):
        raise UsageError(f"a package {module} is already installed; choose another name.")
    cls = "".join(part.capitalize() for part in name.split("-"))
    made = {"data": f"load_{variable}", "metric": f"measure_{variable}"}.get(kind, f"{cls}{kind.capitalize()}")
    words = {"name": name, "kind": kind, "cls": cls, "object": made, "module": module, "variable": variable}
    return words | {"distribution": f"priorkit-{name}", "try_it": Template(TRY_IT[kind]).substitute(words)}


def _filled(template: str, words: dict[str, str]) -> str:
    text = (files("priorkit.registry") / "templates" / f"{template}.txt").read_text(encoding="utf-8")
    return Template(text).substitute(words)
