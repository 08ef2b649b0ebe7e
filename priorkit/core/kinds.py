"""Which values are of the kind that an annotation asks for: booleans, numbers and texts are three kinds."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

__all__ = ["Place", "other_kind"]

Place = tuple[int | str, ...]
"""Where in a value: numbers of a list's items and keys of a mapping; empty for the value itself."""


def other_kind(value: Any, annotation: Any) -> Place | None:
    """Where pydantic would take a boolean for a number, a number for a boolean, or a text for one of them; None if nowhere.

    Lists, tuples and mappings are looked into; of a union one member suffices.
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return other_kind(value, parts[0])
    if origin in (Union, UnionType):
        places = [other_kind(value, part) for part in parts]
        return None if None in places else max((place for place in places if place is not None), key=len)
    if isinstance(value, list | tuple) and parts:
        kinds = parts if origin is tuple and Ellipsis not in parts else [parts[0]] * len(value)
        return _first(zip(range(len(value)), value, kinds, strict=False))
    if isinstance(value, Mapping) and len(parts) == 2:
        return _first((key, item, parts[1]) for key, item in value.items())
    return None if not isinstance(value, bool | int | float | str) or _same_scalar(value, annotation) else ()


def _first(inner: Iterable[tuple[int | str, Any, Any]]) -> Place | None:
    """The place in the first of some parts, each its key, its value and its annotation, that has one."""
    for key, item, annotation in inner:
        place = other_kind(item, annotation)
        if place is not None:
            return key, *place
    return None


def _same_scalar(value: bool | float | str, annotation: Any) -> bool:
    """Whether one boolean, number or text is of the annotation's kind; of annotations not known here pydantic knows."""
    if annotation is bool:
        return isinstance(value, bool)
    if annotation in (int, float):
        return not isinstance(value, bool | str)
    if annotation in (str, Path):
        return not isinstance(value, bool)
    if get_origin(annotation) is Literal:
        return any(type(value) is type(choice) for choice in get_args(annotation))
    return annotation is not NoneType
