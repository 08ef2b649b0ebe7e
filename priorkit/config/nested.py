"""Options of nested models, given in part or as dotted keys.

A component may give a nested model other values than that model's own defaults, such as a prior its optimiser.  Setting
one key of it must leave the others as the component has them.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

__all__ = ["leaves", "over_defaults"]


def leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a nested mapping with their dotted keys; an empty mapping is a value."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def over_defaults(model: type[BaseModel], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, each nested mapping laid over the default that its field has in `model`."""
    complete = dict(options)
    for name, field in model.model_fields.items():
        default = field.get_default()
        if isinstance(default, BaseModel) and isinstance(complete.get(name), Mapping):
            complete[name] = laid_over(default, complete[name])
    return complete


def laid_over(default: BaseModel, given: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a default model with those given in their place, at every depth."""
    values: dict[str, Any] = {name: getattr(default, name) for name in type(default).model_fields}
    for key, value in given.items():
        inner = values.get(key)
        values[key] = laid_over(inner, value) if isinstance(inner, BaseModel) and isinstance(value, Mapping) else value
    return values
