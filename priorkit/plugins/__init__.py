"""Plugins: declared as entry points, found by name, loaded when named.  Importing this package imports no torch."""

from priorkit.plugins.contract import CONTRACT, KINDS
from priorkit.plugins.entry import Entry
from priorkit.plugins.format import CheckpointFormat, Imported
from priorkit.plugins.hookspecs import hookimpl
from priorkit.plugins.logger import Logger
from priorkit.plugins.manager import hooks
from priorkit.plugins.registry import Health, Registry, installed

__all__ = [
    "CONTRACT",
    "KINDS",
    "CheckpointFormat",
    "Entry",
    "Health",
    "Imported",
    "Logger",
    "Registry",
    "hookimpl",
    "hooks",
    "installed",
]
