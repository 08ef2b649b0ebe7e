"""A finished run's settings for measuring, with what a command says laid over them."""

from collections.abc import Sequence

from priorkit.config.document import KeyPath
from priorkit.config.layers import Assignment, lay_over, override
from priorkit.config.run_config import RunConfig
from priorkit.config.sections import FidelitySettings
from priorkit.errors import UsageError
from priorkit.registry import installed
from priorkit.registry.contract import RESERVED

__all__ = ["adjusted_fidelity"]


def adjusted_fidelity(
    config: RunConfig, overrides: Sequence[str] = (), *, features: str | None = None, weights: str | None = None
) -> FidelitySettings:
    """The section `fidelity` under the flags --features and --feature-weights and the `--set` arguments, which go over them.

    Raises UsageError naming the argument for a bad value, for a key of another section (what a run was trained with does
    not change), and where the features are code that the run alone names: it may be a third party's.
    """
    given = [
        Assignment(("fidelity", key), value, f"--{flag} {value}")
        for key, flag, value in (("features", "features", features), ("weights", "feature-weights", weights))
        if value is not None
    ]
    for argument in overrides:
        for item in override(argument):
            if item.path[0] != "fidelity":
                raise UsageError(
                    f"{item.origin}: only options of fidelity can be set for a finished run, such as fidelity.split"
                )
            given.append(item)
    tree, origins = config.model_dump(mode="json"), dict[KeyPath, str]()
    lay_over(tree, origins, given)
    found = RunConfig.build(tree, origins).fidelity
    if ("fidelity", "features") not in origins and not _registered(found.features):
        raise UsageError(
            f"fidelity.features: the run's config.yaml names {found.features!r}, which is not an "
            "extractor of priorkit or of an installed plugin. A run may come from a third party, so a "
            "file or a function is used only if the command names it: give it with --features if you "
            "trust it, or use --features auto."
        )
    return found


def _registered(name: str) -> bool:
    return name in RESERVED["extractor"] or installed().knows("extractor", name)
