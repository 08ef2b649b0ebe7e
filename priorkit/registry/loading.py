"""Imports one plugin, so that its failure affects nothing else."""

import inspect
import traceback
from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec
from typing import Any

from priorkit.errors import PluginError, said
from priorkit.registry.contract import BASES, CONTRACT, FUNCTIONS
from priorkit.registry.entry import Entry
from priorkit.registry.isolation import interrupts, silenced

__all__ = ["Record", "importable", "load"]

CONFIGURED = ("backbone", "prior", "sampler", "trainer")
"""Kinds whose classes have their options as `Config`."""


@dataclass(frozen=True)
class Record:
    """The result of loading an entry: a component, or a problem and its cause."""

    entry: Entry
    component: Any = None
    problem: str = ""
    cause: BaseException | None = None

    @property
    def traceback(self) -> str:
        """The traceback of the cause as text; empty if there is none."""
        return "".join(traceback.format_exception(self.cause)) if self.cause else ""

    def error(self) -> PluginError:
        """Return the problem as an error of one paragraph, its `__cause__` set."""
        entry = self.entry
        error = PluginError(f"plugin {entry.key} of {entry.origin} ({entry.target}) cannot be used: {self.problem}")
        error.__cause__ = self.cause
        return error


def load(entry: Entry) -> Record:
    """Import an entry and check it against the contract; raises nothing except on the user's Ctrl-C."""
    if entry.problem:
        return Record(entry, problem=entry.problem)
    with silenced(), interrupts() as came:
        try:
            component = from_string(entry.target)
            problem = misfit(entry.kind, component)
        except BaseException as error:  # a third-party module may raise SystemExit or an unusual exception
            if came:
                raise
            return Record(entry, problem=f"its import failed with {said(error, 500)}", cause=error)
    return Record(entry, problem=problem) if problem else Record(entry, component)


def from_string(target: str) -> Any:
    """Return the object of `module:attribute`."""
    module, _, path = target.partition(":")
    return reduce(getattr, path.split("."), import_module(module))


def misfit(kind: str, component: Any) -> str:
    """Return how a component violates its kind's contract, or ''."""
    wanted = getattr(component, "requires_contract", CONTRACT)
    if not isinstance(wanted, int):
        return f"its requires_contract is {wanted!r}, not a number"
    if wanted > CONTRACT:
        return (
            f"it needs contract {wanted}, but this version of priorkit has {CONTRACT}: upgrade priorkit "
            "or install an older plugin"
        )
    if kind not in BASES or (kind in FUNCTIONS and not isinstance(component, type)):
        return "" if callable(component) else f"expected something callable, got {type(component).__name__}"
    base = from_string(BASES[kind])
    if not (isinstance(component, type) and issubclass(component, base)):
        return f"a plugin of kind {kind} must be a subclass of {BASES[kind].replace(':', '.')}"
    if missing := sorted(getattr(component, "__abstractmethods__", ())):
        return f"it does not define {', '.join(missing)}"
    return misconfigured(component) if kind in CONFIGURED else ""


def misconfigured(component: type[Any]) -> str:
    """Return the problem with the class of a component's options, or ''."""
    from priorkit.core.settings import Settings

    config = component.Config
    if not (inspect.isclass(config) and issubclass(config, Settings)):
        return "its Config must be a subclass of priorkit.core.Settings"
    return "its Config may not have an option called 'name', which names the plugin" if "name" in config.model_fields else ""


def importable(module: str) -> bool:
    """Return True if a module can be found; unlike `find_spec` this never imports its parent packages."""
    top, *rest = module.split(".")
    spec = find_spec(top)
    for depth, _ in enumerate(rest, start=2):
        if spec is None or spec.submodule_search_locations is None:
            return False
        spec = PathFinder.find_spec(".".join(module.split(".")[:depth]), list(spec.submodule_search_locations))
    return spec is not None
