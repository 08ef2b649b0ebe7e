"""What a plugin may be, and the version of the interface that it is built for."""

__all__ = ["BASES", "CONTRACT", "GROUP", "KINDS", "OWN", "RESERVED"]

GROUP = "priorkit"
"""The entry-point group; an entry's name is KIND.NAME, its value the import string of a class."""

OWN = "priorkit"
"""The distribution whose plugins ship with the core."""

CONTRACT = 1
"""Raised when a plugin written for the previous number could break; see `requires_contract`."""

KINDS = ("backbone", "prior", "sampler", "trainer", "logger", "format", "data", "metric", "extractor")

BASES = {
    "backbone": "priorkit.core:Backbone",
    "prior": "priorkit.core:Prior",
    "sampler": "priorkit.core:Sampler",
    "trainer": "priorkit.core:Trainer",
    "logger": "priorkit.core.logger:Logger",
    "format": "priorkit.core.checkpoint_format:CheckpointFormat",
    "extractor": "priorkit.metrics:Extractor",
}
"""The base class of a kind, as an import string so that listing imports none; kinds not named take any callable."""

RESERVED = {
    "data": frozenset(
        {
            *("celeba", "cifar10", "cifar100", "digits", "fashion-mnist", "folder", "lsun-church", "mnist", "stream"),
            *("svhn", "toy", "zip"),
        }
    ),
    "metric": frozenset(
        {
            *("all", "chains", "copying", "elbo", "energy_distance", "fd", "fidelity", "gap", "hole", "logz", "nll"),
            *("reconstruction", "sliced_wasserstein"),
        }
    ),
    "extractor": frozenset({"auto", "cifar", "digits", "fashion", "inception"}),
}
"""Names of the core's own data sets and figures, which are no plugins and cannot be replaced by one."""
