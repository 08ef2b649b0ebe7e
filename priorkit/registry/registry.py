"""Plugins by name: listed from metadata, imported when a run uses them, with independent failures.

The names of built-in plugins are reserved, whoever else declares them: installing a package cannot change the meaning of a
run.
"""

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, overload

from priorkit.errors import PluginError, UsageError
from priorkit.registry.contract import KINDS
from priorkit.registry.entry import Entry, discover, normalised
from priorkit.registry.loading import Record, importable, load
from priorkit.registry.nearest import did_you_mean
from priorkit.registry.selection import DISABLE, Selection

if TYPE_CHECKING:
    from priorkit.core import Backbone, FeatureExtractor, MetricFunction, Prior, Sampler, Trainer
    from priorkit.core.checkpoint_format import CheckpointFormat
    from priorkit.core.logger import Logger

__all__ = ["Health", "Registry", "installed"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Health:
    """Whether a plugin can be used, and the problem if it cannot."""

    state: Literal["ok", "disabled", "duplicate", "broken"]
    problem: str = ""


class Registry:
    """The plugins of one environment."""

    def __init__(self, entries: Iterable[Entry], selection: Selection | None = None) -> None:
        self.entries = list(entries)
        self.selection = selection or Selection()
        self._records: dict[Entry, Record] = {}
        self._warned: set[Entry] = set()

    @classmethod
    def discover(cls) -> "Registry":
        """Return the installed plugins that the environment variables allow."""
        return cls(discover(), Selection.from_environment(os.environ))

    def names(self, kind: str) -> list[str]:
        """Return the usable names of a kind, sorted."""
        return sorted({e.name for e in self.entries if e.kind == kind and not e.problem and not self.selection.refusal(e)})

    def own_names(self, kind: str) -> list[str]:
        """Return the names of the built-in plugins of a kind, sorted, whether they can be used or not."""
        return sorted(e.name for e in self.entries if e.kind == kind and e.own)

    def knows(self, kind: str, name: str) -> bool:
        """Return True if `name` or `distribution:name` refers to a usable plugin of that kind."""
        bare = name.rpartition(":")[2]
        if bare not in self.names(kind):
            return False
        try:
            self.resolve(kind, name)
        except UsageError:
            return False
        except PluginError:
            return True  # there are several, which is reported on loading
        return True

    def of_module(self, module: str) -> list[Entry]:
        """Return the usable entries whose import string names this module."""
        found = [entry for entry in self.entries if entry.target.partition(":")[0] == module]
        return [entry for entry in found if not entry.problem and not self.selection.refusal(entry)]

    def resolve(self, kind: str, name: str) -> Entry:
        """Return the entry of `name` or `distribution:name`; if several have a built-in plugin's name, the built-in one.

        Raises UsageError for an unknown or disabled name, PluginError for one declared by several packages.
        """
        if kind not in KINDS:
            raise UsageError(f"unknown kind of plugin {kind!r}: {did_you_mean(kind, KINDS, plural='kinds')}")
        found = [entry for entry in self.entries if entry.kind == kind and matches(entry, name)]
        return self._only(found) if found else self._unknown(kind, name)

    def find(self, text: str) -> Entry:
        """Return the entry of NAME or `distribution:NAME`; either part may be preceded by KIND and a dot.

        Raises as `resolve` does.
        """
        distribution, _, bare = text.rpartition(":")
        for kind in KINDS:
            if text.startswith(f"{kind}."):
                return self.resolve(kind, text.removeprefix(f"{kind}."))
            if distribution and bare.startswith(f"{kind}."):
                return self.resolve(kind, f"{distribution}:{bare.removeprefix(f'{kind}.')}")
        found = [entry for entry in self.entries if matches(entry, text)]
        # If a backbone and the format of its files share a name, it refers to the backbone.
        found = [entry for entry in found if entry.kind != "format"] or found
        if kinds := sorted({entry.kind for entry in found}):
            if len(kinds) > 1:
                raise UsageError(f"{bare!r} names several plugins: write {' or '.join(f'{k}.{bare}' for k in kinds)}")
            return self._only(found)
        known = [entry.key if "." in bare else entry.name for entry in self.entries if not entry.problem]
        raise UsageError(f"unknown plugin {text!r}: {did_you_mean(bare, known, plural='plugins')}")

    @overload
    def load(self, kind: Literal["backbone"], name: str) -> "type[Backbone]": ...
    @overload
    def load(self, kind: Literal["prior"], name: str) -> "type[Prior]": ...
    @overload
    def load(self, kind: Literal["sampler"], name: str) -> "type[Sampler]": ...
    @overload
    def load(self, kind: Literal["trainer"], name: str) -> "type[Trainer]": ...
    @overload
    def load(self, kind: Literal["logger"], name: str) -> "type[Logger]": ...
    @overload
    def load(self, kind: Literal["format"], name: str) -> "type[CheckpointFormat]": ...
    @overload
    def load(self, kind: Literal["metric"], name: str) -> "MetricFunction": ...
    @overload
    def load(self, kind: Literal["extractor"], name: str) -> "type[FeatureExtractor]": ...
    @overload
    def load(self, kind: str, name: str) -> Any: ...
    def load(self, kind: str, name: str) -> Any:
        """Import the plugin of that kind and name; raises as `resolve`, and PluginError if it is broken."""
        return self.load_entry(self.resolve(kind, name))

    def load_entry(self, entry: Entry) -> Any:
        """Import one entry. Raises PluginError with the cause attached."""
        record = self.record(entry)
        if record.problem:
            raise record.error()
        return record.component

    def record(self, entry: Entry) -> Record:
        """Return the result of importing an entry, done once."""
        if entry not in self._records:
            self._records[entry] = load(entry)
        return self._records[entry]

    def declaring(self, component: Any) -> Entry | None:
        """Return the entry from which a component was loaded, or None."""
        return next((entry for entry, record in self._records.items() if record.component is component), None)

    def health(self, entry: Entry) -> Health:
        """Return whether an entry can be used. A third-party plugin is imported for this; a built-in one is only looked
        up."""
        if refusal := self.selection.refusal(entry):
            return Health("disabled", refusal)
        if rivals := self._rivals(entry):
            ours = any(rival.own for rival in rivals)
            return Health("duplicate", taken(entry) if ours else f"also declared by {origins(rivals)}")
        if entry.own and not entry.problem:
            module = entry.target.partition(":")[0]
            return Health("ok") if importable(module) else Health("broken", f"module {module} is not installed")
        problem = self.record(entry).problem
        return Health("broken", problem) if problem else Health("ok")

    def notes(self) -> list[str]:
        """Return notes on unusual values of the environment variables."""
        return self.selection.unmatched(self.entries)

    def _rivals(self, entry: Entry) -> list[Entry]:
        """Return the usable entries that make an entry's bare name ambiguous; built-in plugins have none."""
        if entry.own:
            return []
        same = (other for other in self.entries if other.key == entry.key and other is not entry)
        return [] if entry.problem else [other for other in same if not self.selection.refusal(other)]

    def _only(self, found: Sequence[Entry]) -> Entry:
        """Return the only usable entry with a name."""
        usable = [entry for entry in found if not self.selection.refusal(entry)]
        if not usable:
            raise UsageError(f"plugin {found[0].key} of {found[0].origin} is {self.selection.refusal(found[0])}")
        own = [entry for entry in usable if entry.own]
        if len(usable) > 1 and not own:
            ways = " or ".join(qualified(entry) for entry in usable)
            advice = f"write {ways}, or disable one with {DISABLE}=DISTRIBUTION"
            raise PluginError(f"plugin {found[0].key} is declared by {origins(usable)}: {advice}")
        for newcomer in usable if own else ():
            self._warn(newcomer)
        return own[0] if own else usable[0]

    def _warn(self, entry: Entry) -> None:
        """Warn once that a built-in name does not refer to a third-party plugin of that name."""
        if not entry.own and not entry.problem and entry not in self._warned:
            self._warned.add(entry)
            log.warning("plugin %s of %s is ignored: %s", entry.key, entry.origin, taken(entry))

    def _unknown(self, kind: str, name: str) -> Entry:
        bare = name.rpartition(":")[2]
        if not any(entry.own for entry in self.entries):
            raise UsageError(
                f"unknown {kind} {name!r}: priorkit is not installed, so its plugins are not declared; run "
                "pip install priorkit"
            )
        if ":" in name:
            package = name.rpartition(":")[0]
            own = [e.name for e in self.entries if e.kind == kind and normalised(e.distribution) == normalised(package)]
            there = any(normalised(e.distribution) == normalised(package) for e in self.entries)
            listed = f"of {package}, {did_you_mean(bare, own, plural=f'{kind}s')}"
            raise UsageError(f"unknown {kind} {name!r}: {listed if there else f'{package} is not installed'}")
        elsewhere = [entry.kind for entry in self.entries if matches(entry, name)]
        other = f" ({bare!r} is a {elsewhere[0]})" if elsewhere else ""
        raise UsageError(f"unknown {kind} {name!r}{other}: {did_you_mean(bare, self.names(kind), plural=f'{kind}s')}")


def qualified(entry: Entry) -> str:
    """Return the name of this entry only, in quotation marks."""
    return f"'{entry.distribution}:{entry.name}'"


def origins(entries: Iterable[Entry]) -> str:
    """Return the distributions that declare the entries."""
    return " and ".join(entry.origin for entry in entries)


def taken(entry: Entry) -> str:
    """Return the problem with a third-party plugin that has a built-in name, and how to use it nevertheless."""
    return f"{entry.name!r} is a built-in {entry.kind} of priorkit; write {qualified(entry)} for this one"


def matches(entry: Entry, text: str) -> bool:
    """Return True if `name` or `distribution:name` refers to this entry."""
    distribution, _, name = text.rpartition(":")
    if distribution and normalised(distribution) != normalised(entry.distribution):
        return False
    return bool(name) and entry.name == name


@cache
def installed() -> Registry:
    """Return the registry of this process, read once."""
    return Registry.discover()
