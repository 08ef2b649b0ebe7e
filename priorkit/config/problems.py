"""Pydantic's validation errors, described in terms of the file or the argument."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from priorkit.config.document import KeyPath
from priorkit.registry.options import expected, inner_model

__all__ = ["Origins", "located", "problems"]

Origins = Mapping[KeyPath, str]
"""Path of a key -> where it was set, such as 'config.yaml, line 12' or '--set prior.stages=three'."""

TOLD_BY_TYPE = ("_type", "_parsing", "_error", "from_float", "enum", "greater_than", "less_than", "_equal")
"""Suffixes of pydantic's error types that the type and the bounds of a field explain."""
MAX_PROBLEMS = 5
"""Largest number of problems in a message."""


def located(path: KeyPath, message: str, origins: Origins) -> str:
    """Prefix a message with the origin of the key or of the section that contains it."""
    start = next((origins[path[:end]] for end in range(len(path), -1, -1) if path[:end] in origins), "")
    below = {origin for key, origin in origins.items() if key[: len(path)] == path}
    if not start and len(below) == 1:
        start = below.pop()
    return ": ".join(part for part in (start, ".".join(path), message) if part)


def problems(error: ValidationError, model: type[BaseModel], prefix: KeyPath, data: Any, origins: Origins) -> str:
    """Return one line per problem; `data` was validated as `model`, at `prefix` in the configuration."""
    found: dict[KeyPath, str] = {}
    for item in error.errors(include_url=False):
        path = real_path(item["loc"], data, missing=item["type"] == "missing")
        # Each member of a union reports the same value.
        found.setdefault(path, located((*prefix, *path), describe(item, model, path), origins))
    lines = list(found.values())
    more = [f"... and {len(lines) - MAX_PROBLEMS} more"] if len(lines) > MAX_PROBLEMS else []
    return "\n".join(lines[:MAX_PROBLEMS] + more)


def real_path(loc: tuple[int | str, ...], data: Any, *, missing: bool) -> KeyPath:
    """The keys of an error's location; pydantic mixes the names of union members and functions among them."""

    def walk() -> Iterator[str]:
        inside = data
        for number, piece in enumerate(loc):
            if isinstance(inside, Mapping) and piece in inside:
                inside = inside[str(piece)]
            elif isinstance(inside, list | tuple) and isinstance(piece, int) and piece < len(inside):
                inside = inside[piece]
            elif not (missing and number == len(loc) - 1):
                continue
            yield str(piece)

    return tuple(walk())


def describe(item: Any, model: type[BaseModel], path: KeyPath) -> str:
    """Describe one error."""
    parent, field = field_at(model, path)
    kind, value = item["type"], item["input"]
    if kind == "extra_forbidden":
        near = get_close_matches(path[-1], list(parent.model_fields), n=1)
        known = ", ".join(parent.model_fields) or "none"
        return f"unknown key; did you mean {near[0]!r}?" if near else f"unknown key; the keys here are {known}"
    if kind == "missing":
        return f"is not set and has no default; expected {expected(field)}" if field else "is not set and has no default"
    if kind in ("value_error", "assertion_error"):
        return str(item["ctx"]["error"])
    if field is not None and kind.endswith(TOLD_BY_TYPE):
        return f"expected {expected(field)}, got {short(value)}"
    return f"{item['msg'][:1].lower()}{item['msg'][1:]}, got {short(value)}"


def field_at(model: type[BaseModel], path: KeyPath) -> tuple[type[BaseModel], FieldInfo | None]:
    """Return the innermost model and field of a path; the field is None if the model does not have it."""
    field = None
    for depth, key in enumerate(path):
        field = model.model_fields.get(key)
        nested = inner_model(field.annotation) if field else None
        if nested is None or depth == len(path) - 1:
            break
        model = nested
    return model, field


def short(value: Any) -> str:
    """Return a value as text for a message, at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
