"""Descriptions of a component's options, from its `Config` model: for `plugins show` and error messages."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

__all__ = ["Option", "expected", "options"]

WORDS = {bool: "true | false", int: "integer", float: "number", str: "text", Path: "path", NoneType: "none", Any: "any"}
BOUNDS = {annotated_types.Ge: ("ge", ">="), annotated_types.Gt: ("gt", ">")} | {
    annotated_types.Le: ("le", "<="),
    annotated_types.Lt: ("lt", "<"),
}


@dataclass(frozen=True)
class Option:
    """One key that a configuration may set for the component."""

    path: str
    """Dotted, such as `optimiser.lr`."""
    type: str
    default: Any
    """The result of `model_dump(mode="json")`; also None if `required`."""
    required: bool
    meaning: str


def options(model: type[BaseModel], defaults: BaseModel | None = None, prefix: str = "") -> Iterator[Option]:
    """Yield every option of a model, nested models flattened; `defaults` has the values set by an outer model."""
    defaults = defaults or unset(model)
    for name, field in model.model_fields.items():
        given = getattr(defaults, name, PydanticUndefined) if defaults is not None else PydanticUndefined
        default = field.get_default(call_default_factory=True) if given is PydanticUndefined else given
        nested = inner_model(field.annotation)
        if nested is None or default is None:
            missing = default is PydanticUndefined
            value = None if missing else plain(default)
            meaning = " ".join((field.description or "").split())
            yield Option(prefix + name, expected(field), value, missing, meaning)
        if nested is not None:
            yield from options(nested, default if isinstance(default, nested) else None, f"{prefix}{name}.")


def unset(model: type[BaseModel]) -> BaseModel | None:
    """Return a model with no option set: a validator may give fields other values than their defaults, such as a
    preset's."""
    try:
        return model()
    except ValidationError:
        return None


def plain(value: Any) -> Any:
    """Return a default as a JSON value."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return plain(value.value)
    return value if isinstance(value, bool | int | float | str | NoneType) else str(value)


def inner_model(annotation: Any) -> type[BaseModel] | None:
    """Return the only model in an annotation, or None."""
    parts = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    models = [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]
    return models[0] if len(models) == 1 else None


def expected(field: FieldInfo) -> str:
    """Return a description of a field's type and bounds, such as 'integer >= 1'."""
    return in_words(field.annotation) + bounds(field.metadata)


def in_words(annotation: Any) -> str:
    """Return a description of a type."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return in_words(parts[0]) + bounds(parts[1:])
    if origin is Literal:
        return " | ".join(map(str, parts))
    if origin in (Union, UnionType):
        return " | ".join(in_words(part) for part in parts)
    if origin is tuple and Ellipsis not in parts:
        return f"[{', '.join(in_words(part) for part in parts)}]"
    if origin is not None and issubclass(origin, Mapping):
        return f"mapping of {in_words(parts[1])}" if len(parts) == 2 else "mapping"
    if origin is not None and parts:
        return f"list of {in_words(parts[0])}"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " | ".join(str(member.value) for member in annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return WORDS[annotation] if annotation in WORDS else str(getattr(annotation, "__name__", annotation))


def bounds(metadata: Iterable[Any]) -> str:
    """Return the numeric bounds in a field's metadata, such as ' >= 1'."""
    flat = [part for item in metadata for part in (item.metadata if isinstance(item, FieldInfo) else [item])]
    found = [(BOUNDS[type(item)], item) for item in flat if type(item) in BOUNDS]
    return " and".join(f" {sign} {getattr(item, attribute)}" for (attribute, sign), item in found)
