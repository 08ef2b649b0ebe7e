"""Relative places made absolute, so that a run can be used from any folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from priorkit.config.run_config import RunConfig
from priorkit.config.sections import DEFAULTS, Component
from priorkit.runtime.user_path import user_path

__all__ = ["absolute_source", "anchored"]

SCHEMES = ("zip", "folder", "stream")


def anchored(config: RunConfig) -> RunConfig:
    """The configuration with every relative place of data, of an extractor's files, and of a component's option of the type
    `Path` as seen from the current folder."""
    data, fidelity = config.data, config.fidelity
    of_data = {
        "name": absolute_source(data.name),
        "heldout": None if data.heldout is None else absolute_source(data.heldout),
        "root": None if data.root is None else _absolute(data.root),
    }
    of_fidelity = {name: _file(getattr(fidelity, name)) for name in ("features", "weights")}
    return config.model_copy(
        update={
            "data": data.model_copy(update=of_data),
            "fidelity": fidelity.model_copy(update=of_fidelity),
            **{kind: _component(config, kind) for kind in DEFAULTS},
        }
    )


def _component(config: RunConfig, kind: str) -> Component:
    """Its options with the types that its settings give them: only those tell a path from a word."""
    chosen: Component = getattr(config, kind)
    _, settings = config.component(kind)
    return Component(name=chosen.name, **_of_paths(settings.model_dump(mode="json"), settings.model_dump()))


def _of_paths(told: Any, typed: Any) -> Any:
    """Options as JSON has them, in which what is a path in `typed` is absolute."""
    if isinstance(typed, Path):
        return str(_absolute(typed))
    if isinstance(typed, Mapping):
        return {key: _of_paths(told[key], value) for key, value in typed.items()}
    return told


def absolute_source(name: str) -> str:
    """The name of a data set, its file or folder absolute where it names one."""
    scheme, _, place = name.partition(":")
    return f"{scheme}:{_absolute(Path(place))}" if scheme in SCHEMES and place and "://" not in place else name


def _file(name: str | None) -> str | None:
    """What names an extractor or its weights, absolute where it is a file's path."""
    if name is None or not ("/" in name or (Path(name).suffix and Path(name).is_file())):
        return name
    return str(_absolute(Path(name)))


def _absolute(place: Path) -> Path:
    return user_path(place).absolute()
