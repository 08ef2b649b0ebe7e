"""The kinds of plugins, and the version of the interface."""

__all__ = ["BASES", "CONTRACT", "FUNCTIONS", "GROUP", "KINDS", "OWN", "RESERVED"]

GROUP = "priorkit"
"""The entry-point group; an entry's name is KIND.NAME, its value the import string of a class."""

OWN = "priorkit"
"""The distribution of the built-in plugins."""

CONTRACT = 1
"""Increased when a plugin written for the previous number could break; see `requires_contract`."""

KINDS = ("backbone", "prior", "sampler", "trainer", "logger", "format", "data", "metric", "extractor")

BASES = {
    "backbone": "priorkit.core:Backbone",
    "prior": "priorkit.core:Prior",
    "sampler": "priorkit.core:Sampler",
    "trainer": "priorkit.core:Trainer",
    "logger": "priorkit.core.logger:Logger",
    "format": "priorkit.core.checkpoint_format:CheckpointFormat",
    "data": "priorkit.core:DataSource",
    "extractor": "priorkit.core:FeatureExtractor",
}
"""The base class of a kind, as an import string so that listing imports none; other kinds accept any callable."""

FUNCTIONS = ("data",)
"""Kinds with a base class that also accept a function."""

RESERVED = {"metric": frozenset({"all"}), "extractor": frozenset({"auto"})}
"""Words that an option accepts in place of a name, so that no plugin can have them as a name."""
