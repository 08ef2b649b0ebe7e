"""The registry of plugins: declared as entry points, found by name, loaded on use. Importing it does not import torch."""

from priorkit.registry.contract import CONTRACT, KINDS
from priorkit.registry.entry import Entry
from priorkit.registry.hookspecs import hookimpl
from priorkit.registry.manager import hooks
from priorkit.registry.registry import Health, Registry, installed

__all__ = [
    "CONTRACT",
    "KINDS",
    "Entry",
    "Health",
    "Registry",
    "hookimpl",
    "hooks",
    "installed",
]
