"""Which plugins the environment variables allow.

`PRIORKIT_PLUGINS=a,b` loads only the built-in plugins and the named ones; an empty value loads only the built-in ones.
`PRIORKIT_DISABLE_PLUGINS=a,b` disables the named ones. A name is that of a distribution or of an entry, KIND.NAME.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from priorkit.registry.entry import Entry, normalised

__all__ = ["DISABLE", "ONLY", "Selection"]

ONLY = "PRIORKIT_PLUGINS"
DISABLE = "PRIORKIT_DISABLE_PLUGINS"


@dataclass(frozen=True)
class Selection:
    """The two lists; `only` is None if the variable is not set."""

    only: tuple[str, ...] | None = None
    disabled: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Selection":
        """Return the selection from both variables."""
        return cls(split(environ[ONLY]) if ONLY in environ else None, split(environ.get(DISABLE, "")))

    def refusal(self, entry: Entry) -> str:
        """Return why an entry may not be used, or ''."""
        if any(names(item, entry) for item in self.disabled):
            return f"switched off by {DISABLE}"
        if self.only is not None and not entry.own and not any(names(item, entry) for item in self.only):
            return f"not among those that {ONLY} allows"
        return ""

    def unmatched(self, entries: Iterable[Entry]) -> list[str]:
        """Return notes on names in the variables that match no installed plugin."""
        known = list(entries)
        listed = [(ONLY, item) for item in self.only or ()] + [(DISABLE, item) for item in self.disabled]
        return [
            f"{variable} names {item!r}, which is no distribution or KIND.NAME of an installed plugin"
            for variable, item in listed
            if not any(names(item, entry) for entry in known)
        ]


def split(text: str) -> tuple[str, ...]:
    """Return the items of a comma-separated list."""
    return tuple(item.strip() for item in text.split(",") if item.strip())


def names(item: str, entry: Entry) -> bool:
    """Return True if an item of a variable refers to this entry."""
    return item == entry.key or normalised(item) == normalised(entry.distribution)
