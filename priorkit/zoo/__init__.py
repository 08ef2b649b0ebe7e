"""Small trained runs inside the package: `zoo:NAME` can be given in place of a run's folder.

`benchmarks/zoo.py` trains them. Nothing is written to their folders.
"""

import json
import os
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from priorkit.errors import UsageError
from priorkit.runtime.user_path import given_path

__all__ = ["MODELS", "PREFIX", "ZooModel", "given_run", "zoo_models"]

MODELS = Path(__file__).with_name("models")
PREFIX = "zoo:"


@dataclass(frozen=True)
class ZooModel:
    """A trained run in the package."""

    name: str
    backbone: str
    prior: str
    data: str
    shape: tuple[int, ...]
    """(C, H, W)."""
    size: int
    """Bytes of its weights."""
    folder: Path


def zoo_models() -> list[ZooModel]:
    """Return the models of the zoo, by name."""
    return [_read(MODELS / name) for name in _names()]


def given_run(name: str, place: object) -> Path:
    """Return the folder of the run that a caller gives as the argument `name`: a path, or `zoo:NAME`.

    Raises UsageError for what is neither text nor a path, and for a name that is not in the zoo.
    """
    path = given_path(name, place)
    text = os.fspath(path)
    if not text.startswith(PREFIX) or path.exists():
        return path
    asked, known = text.removeprefix(PREFIX), _names()
    if asked not in known:
        near = get_close_matches(asked, known, n=1, cutoff=0.0)[0]
        raise UsageError(
            f"{text:.80}: the zoo has no such model; did you mean {PREFIX}{near}? `priorkit zoo list` shows all."
        )
    return MODELS / asked


def _names() -> list[str]:
    return sorted(folder.name for folder in MODELS.iterdir() if (folder / "summary.json").is_file())


def _read(folder: Path) -> ZooModel:
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    spec = json.loads((folder / "data.json").read_text(encoding="utf-8"))
    size = sum(file.stat().st_size for file in (folder / "weights").glob("*.safetensors"))
    shape = tuple(spec["shape"])
    return ZooModel(folder.name, summary["backbone"], summary["prior"], spec["name"], shape, size, folder)
