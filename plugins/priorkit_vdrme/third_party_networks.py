"""Networks of other packages, by their import strings."""

import re
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from priorkit.errors import PriorkitError, UsageError
from priorkit.registry import installed
from priorkit.registry.options import expected

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from priorkit.energies.scale_network import ScaleNetwork, ScaleTask

__all__ = ["foreign_network", "network_class", "network_options"]


def network_class(name: str) -> "type[ScaleNetwork]":
    """Return the `ScaleNetwork` of `module:Class`. Raises UsageError.

    Only modules in which a usable plugin is declared are imported: a configuration may be from a third party.
    """
    from priorkit.energies.scale_network import ScaleNetwork

    module, _, attribute = name.partition(":")
    entries = installed().of_module(module) if re.fullmatch(r"[\w.]+:\w+", name) else []
    if not entries:
        raise UsageError(
            "network: expected mlp, or module:Class with a module that declares an installed plugin of "
            f"priorkit, got {name!r}"
        )
    problems = [installed().record(entry).problem for entry in entries]
    if all(problems):
        raise UsageError(f"network: {name!r} of {entries[0].origin} cannot be imported: {problems[0]}")
    try:
        found = getattr(import_module(module), attribute)
    except Exception as error:  # a module may compute its attributes
        raise UsageError(f"network: {name!r} of {entries[0].origin} cannot be imported: {_said(error)}") from error
    if not (isinstance(found, type) and issubclass(found, ScaleNetwork)):
        raise UsageError(f"network: {name!r} is not a subclass of priorkit.energies.scale_network.ScaleNetwork")
    return found


def network_options(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options of a network, validated, as JSON values. Raises UsageError."""
    kind = network_class(name).Config
    try:
        settings = kind.model_validate(dict(given))
    except ValidationError as error:
        wrong = "; ".join(f"options.{'.'.join(map(str, item['loc']))}: {_told(item, kind)}" for item in error.errors())
        raise UsageError(f"{wrong} (of {name})") from error
    options: dict[str, Any] = settings.model_dump(mode="json")
    return options


def _told(item: "ErrorDetails", kind: type[BaseModel]) -> str:
    """Return the problem with an option; for a wrong type, also the expected one, which pydantic's message does not
    contain."""
    field = kind.model_fields.get(str(item["loc"][0])) if len(item["loc"]) == 1 else None
    if field is None or item["type"] != "kind_type":
        return item["msg"]
    return f"expected {expected(field)}, got {item['input']!r}"


def foreign_network(name: str, options: Mapping[str, Any], task: "ScaleTask") -> "ScaleNetwork":
    """Return the network, built for a task. Raises UsageError if it cannot be built, and later if it returns another
    shape."""
    kind = network_class(name)
    try:
        net = kind(kind.Config.model_validate(dict(options)), task)
    except (PriorkitError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # third-party code may raise anything
        raise UsageError(f"network: {name} cannot be built: {_said(error)}") from error
    net.register_forward_hook(partial(_see_shape, name, task.layout.dim if task.outputs is None else task.outputs))
    return net


def _see_shape(name: str, columns: int, net: Any, given: tuple[Tensor, ...], found: Any) -> None:
    wanted = (len(given[0]), columns)
    if not isinstance(found, Tensor) or found.shape != wanted:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise UsageError(f"network: {name} must return the shape {wanted}, got {shape}")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
