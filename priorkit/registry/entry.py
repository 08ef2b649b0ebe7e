"""A plugin as declared in its distribution's metadata; nothing is imported to find it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions

from priorkit.errors import said
from priorkit.registry.contract import GROUP, KINDS, OWN, RESERVED
from priorkit.registry.nearest import did_you_mean

__all__ = ["THIS_PROCESS", "Entry", "discover", "normalised"]

THIS_PROCESS = "this-process"
"""The distribution name of plugins registered with `priorkit.register`."""


def normalised(distribution: str) -> str:
    """Return a distribution's name normalised by the packaging standards."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


@dataclass(frozen=True)
class Entry:
    """One line of the entry-point group `priorkit`."""

    kind: str
    name: str
    distribution: str
    version: str
    target: str
    """The import string, `module:Class`."""
    problem: str = ""
    """The problem with the declaration itself, if any."""

    @property
    def key(self) -> str:
        """KIND.NAME."""
        return f"{self.kind}.{self.name}"

    @property
    def own(self) -> bool:
        """True for built-in plugins."""
        return normalised(self.distribution) == OWN

    @property
    def origin(self) -> str:
        """The distribution and its version."""
        return f"{self.distribution} {self.version}"


def discover() -> list[Entry]:
    """Return all declared plugins, sorted by kind, name and distribution."""
    found: dict[str, list[Entry]] = {}
    for distribution in distributions():
        try:
            text = distribution.read_text("entry_points.txt") or ""
        except (OSError, UnicodeDecodeError):
            continue
        if f"[{GROUP}]" in text:
            name, _ = described(distribution)
            # The first on the path hides later ones of the same name, as in imports.
            found.setdefault(normalised(name), list(declared(name, distribution)))
    order = {kind: number for number, kind in enumerate(KINDS)}
    entries = [entry for group in found.values() for entry in group]
    return sorted(entries, key=lambda e: (order.get(e.kind, len(order)), e.name, not e.own, e.distribution))


def described(distribution: Distribution) -> tuple[str, str]:
    """Return name and version from the metadata; if they cannot be read, the name of the folder."""
    name, version = "", ""
    try:
        metadata = distribution.metadata
        name, version = metadata["Name"], metadata["Version"]
    except Exception:  # third-party files may be invalid or missing, and the finder may be third-party code too
        pass
    folder = str(getattr(distribution, "_path", "")).rpartition("/")[2]
    return str(name or folder.partition("-")[0] or "unnamed"), str(version or "?")


def declared(name: str, distribution: Distribution) -> Iterator[Entry]:
    """Yield the entries of one distribution; unreadable metadata become one entry with that problem."""
    _, version = described(distribution)
    try:
        points = list(distribution.entry_points)
    except Exception as error:  # the parser of a third-party file may raise anything
        yield Entry("?", "?", name, version, "", f"its entry_points.txt cannot be read: {said(error)}")
        return
    for point in points:
        if point.group == GROUP:
            kind, _, rest = point.name.partition(".")
            yield Entry(kind, rest, name, version, point.value, flaw(kind, rest, point.value))


def flaw(kind: str, name: str, target: str) -> str:
    """Return the problem with a declaration, or ''."""
    if not name:
        return f"the entry point {kind!r} must be called KIND.NAME, such as 'prior.mine'"
    if kind not in KINDS:
        return f"unknown kind {kind!r}: {did_you_mean(kind, KINDS, plural='kinds')}"
    if not re.fullmatch(r"[\w.]+:[\w.]+", target):
        return f"its value {target!r} is not an import string of the form module:Class"
    if name in RESERVED.get(kind, ()):
        return f"the name {name!r} is reserved by priorkit; the package must choose another"
    return ""
