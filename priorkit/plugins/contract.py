"""What a plugin may be, and the version of the interface that it is built for."""

__all__ = ["BASES", "CONTRACT", "GROUP", "KINDS", "OWN"]

GROUP = "priorkit"
"""The entry-point group; an entry's name is KIND.NAME, its value the import string of a class."""

OWN = "priorkit"
"""The distribution whose plugins ship with the core."""

CONTRACT = 1
"""Raised when a plugin written for the previous number could break; see `requires_contract`."""

KINDS = ("backbone", "prior", "sampler", "trainer", "logger", "data", "metric")

BASES = {
    "backbone": "priorkit.core:Backbone",
    "prior": "priorkit.core:Prior",
    "sampler": "priorkit.core:Sampler",
    "trainer": "priorkit.core:Trainer",
    "logger": "priorkit.plugins.logger:Logger",
}
"""The base class of a kind, as an import string so that listing imports none; kinds not named take any callable."""
