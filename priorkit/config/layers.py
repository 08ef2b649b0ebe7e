"""Where a configuration comes from: a file, flags, `--set` arguments, each laid over the one before."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from priorkit.config.document import LARGEST, KeyPath, parse, parse_value
from priorkit.config.sections import DEFAULTS, EngineSettings
from priorkit.errors import UsageError

__all__ = ["Assignment", "flag", "lay_over", "override", "read_file"]

NAMED = (*DEFAULTS, "data")
"""Sections that a bare word names: `prior: gaussian` is `prior: {name: gaussian}`."""

FLAGS: dict[str, KeyPath] = {
    **{section: (section, "name") for section in NAMED},
    "seed": ("seed",),
    "minutes": ("minutes",),
    "metrics": ("evaluation", "metrics"),
    "samples": ("evaluation", "samples"),
    "root": ("data", "root"),
    "holdout": ("data", "holdout"),
    "heldout": ("data", "heldout"),
    **{name: ("engine", name) for name in EngineSettings.model_fields},
}
"""The keys that the commands' own options stand for."""


@dataclass(frozen=True)
class Assignment:
    """One key set by an argument."""

    path: KeyPath
    value: Any
    origin: str


def read_file(file: Path) -> tuple[dict[str, Any], dict[KeyPath, str]]:
    """A file's contents and where each key stands.  Raises UsageError naming the file and the line."""
    try:
        with file.open(encoding="utf-8") as stream:
            text = stream.read(LARGEST + 1)  # one that is larger is refused, and a device may have no end
    except FileNotFoundError as error:
        raise UsageError(f"{file}: no such configuration file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: not readable as text: {error}") from error
    content, lines = parse(text, str(file))
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise UsageError(f"{file}: expected keys and values such as 'seed: 0', got a {type(content).__name__}")
    tree = {key: {"name": value} if key in NAMED and isinstance(value, str) else value for key, value in content.items()}
    return tree, {path: f"{file}, line {line}" for path, line in lines.items()}


def override(argument: str) -> Iterator[Assignment]:
    """What `--set KEY=VALUE` sets; a mapping given to a whole section is laid over it key by key."""
    origin = f"--set {argument}"
    key, equals, text = argument.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path) or not key.isprintable():
        raise UsageError(f"{origin}: expected KEY=VALUE, such as --set prior.stages=4")
    value = parse_value(text, origin)
    if len(path) == 1 and path[0] in NAMED and isinstance(value, str):
        yield Assignment((*path, "name"), value, origin)
    elif len(path) == 1 and isinstance(value, dict):
        yield from (Assignment((*path, name), item, origin) for name, item in value.items())
    else:
        yield Assignment(path, value, origin)


def flag(name: str, value: Any) -> Assignment:
    """What a command's own option sets, such as `--backbone nvae`."""
    if name not in FLAGS:
        raise TypeError(f"{name} is not a flag of a run's configuration")
    return Assignment(FLAGS[name], value, f"--{name.replace('_', '-')} {value}")


def lay_over(tree: dict[str, Any], origins: dict[KeyPath, str], given: Iterable[Assignment]) -> None:
    """Set keys in a file's tree, in order.  Options that the file has for a component not used any more are dropped."""
    assignments = list(given)
    chosen = {item.path[0]: item.value for item in assignments if item.path[1:] == ("name",)}
    for kind, default in DEFAULTS.items():
        section = tree.get(kind, {})
        if kind in chosen and isinstance(section, Mapping) and section.get("name", default) != chosen[kind]:
            tree[kind] = {}
    for item in assignments:
        assign(tree, item)
        for path in [path for path in origins if path[: len(item.path)] == item.path]:
            del origins[path]
        origins[item.path] = item.origin


def assign(tree: dict[str, Any], item: Assignment) -> None:
    """Set one key, making the sections above it."""
    *above, last = item.path
    for key in above:
        if not isinstance(tree.get(key), dict):
            tree[key] = {}
        tree = tree[key]
    tree[last] = item.value
