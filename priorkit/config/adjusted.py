"""A finished run's settings for measuring, with what a command says laid over them."""

from collections.abc import Sequence

from priorkit.config.document import KeyPath
from priorkit.config.layers import Assignment, lay_over, override
from priorkit.config.run_config import RunConfig
from priorkit.config.sections import FidelitySettings
from priorkit.errors import UsageError

__all__ = ["adjusted_fidelity"]


def adjusted_fidelity(
    config: RunConfig, overrides: Sequence[str] = (), *, features: str | None = None, weights: str | None = None
) -> FidelitySettings:
    """The section `fidelity` under the flags --features and --feature-weights and the `--set` arguments, which go over them.

    Raises UsageError naming the argument for a bad value, and for a key of another section: what a run was trained with
    does not change.
    """
    given = [
        Assignment(("fidelity", key), value, f"--{flag} {value}")
        for key, flag, value in (("features", "features", features), ("weights", "feature-weights", weights))
        if value is not None
    ]
    for argument in overrides:
        for item in override(argument):
            if item.path[0] != "fidelity":
                raise UsageError(f"{item.origin}: only keys of fidelity can be set of a finished run, as fidelity.split")
            given.append(item)
    tree, origins = config.model_dump(mode="json"), dict[KeyPath, str]()
    lay_over(tree, origins, given)
    return RunConfig.build(tree, origins).fidelity
