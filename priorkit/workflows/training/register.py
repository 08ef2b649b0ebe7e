"""Registration of a component in this process, such as one written in a notebook."""

import itertools
import re
from types import SimpleNamespace
from typing import Any

from priorkit.errors import UsageError
from priorkit.registry import Entry, installed
from priorkit.registry.entry import THIS_PROCESS, flaw

__all__ = ["register"]

REGISTERED = SimpleNamespace()
"""The module from which the registry imports them, wherever they were defined."""
COUNT = itertools.count(1)


def register(key: str, component: Any) -> None:
    """Make a class available by name in this process, as if a package declared it: `register("prior.mine", Mine)`.

    A second registration replaces the class. Other processes do not know it, so a run with it can be read only where
    it is registered; create a package with `priorkit plugins new` for permanent use.

    Args:
        key: KIND.NAME.
        component: The class.

    Raises:
        UsageError: If an installed plugin has the name.
        PluginError: If the class breaks the contract of its kind.
    """
    kind, _, name = key.partition(".")
    registry = installed()
    others = [entry for entry in registry.entries if (entry.kind, entry.name) == (kind, name)]
    if taken := [entry for entry in others if entry.distribution != THIS_PROCESS]:
        raise UsageError(f"register {key!r}: the name is already used by {taken[0].origin}; choose another.")
    # The registry remembers the result for an entry, so another class needs a new entry, also after a failure.
    version = str(next(COUNT))
    place = re.sub(r"\W", "_", f"{key}_{version}")
    entry = Entry(kind, name, THIS_PROCESS, version, f"{__name__}:REGISTERED.{place}")
    if problem := flaw(kind, name, entry.target):
        raise UsageError(f"register {key!r}: {problem}.")
    setattr(REGISTERED, place, component)
    registry.load_entry(entry)
    for old in others:
        registry.entries.remove(old)
    registry.entries.append(entry)
