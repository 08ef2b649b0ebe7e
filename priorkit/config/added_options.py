"""Options that a run's configuration lacks because they were added after it was made."""

from collections.abc import Mapping
from typing import Any

from priorkit.config.sections import DEFAULTS
from priorkit.config.versions import VERSIONS
from priorkit.core.settings import Settings
from priorkit.errors import PriorkitError
from priorkit.registry import installed

__all__ = ["completed"]


def completed(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration file's tree; of one that a run wrote, with `Settings.earlier` of each component for what it lacks."""
    if VERSIONS not in tree:
        return dict(tree)
    sections = {kind: tree[kind] for kind in DEFAULTS if isinstance(tree.get(kind), Mapping)}
    return {**tree, **{kind: {**_earlier(kind, section), **section} for kind, section in sections.items()}}


def _earlier(kind: str, section: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        component = installed().load(kind, str(section.get("name", DEFAULTS[kind])))
    except PriorkitError:
        return {}  # told where the configuration is built
    options = getattr(component, "Config", Settings)
    return options.earlier if issubclass(options, Settings) else {}
