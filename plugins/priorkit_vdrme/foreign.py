"""Networks of other packages, by their import strings."""

import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from priorkit.errors import UsageError
from priorkit.plugins import installed

__all__ = ["network_class", "network_options"]


def network_class(name: str) -> type[Any]:
    """The `ScaleNetwork` behind `module:Class`.  Raises UsageError.

    Only packages that declare a plugin are imported: a configuration may be a stranger's.
    """
    from priorkit.energies.scale_network import ScaleNetwork

    module, _, attribute = name.partition(":")
    packages = {entry.target.partition(":")[0].partition(".")[0] for entry in installed().entries}
    if not re.fullmatch(r"[\w.]+:\w+", name) or module.partition(".")[0] not in packages:
        raise UsageError(f"network: expected mlp, or module:Class of a package with a plugin of priorkit, got {name!r}")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"network: {name!r} cannot be imported ({error})") from error
    if not (isinstance(found, type) and issubclass(found, ScaleNetwork)):
        raise UsageError(f"network: {name!r} is no subclass of priorkit.energies.scale_network.ScaleNetwork")
    return found


def network_options(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a network, checked, as JSON holds them.  Raises UsageError."""
    try:
        settings = network_class(name).Config.model_validate(dict(given))
    except ValidationError as error:
        wrong = "; ".join(f"options.{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise UsageError(f"{wrong} (of {name})") from error
    options: dict[str, Any] = settings.model_dump(mode="json")
    return options
