"""Loads saved weights into a component, whose plugin may have changed since they were saved."""

from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor, nn

from priorkit.config import recorded_versions
from priorkit.errors import PluginError, UsageError
from priorkit.registry import installed
from priorkit.runs.folder import RunFolder
from priorkit.runs.plugin_errors import described

__all__ = ["restore"]

STATISTICS = ("running_mean", "running_var")
SHOWN = 3
"""Number of tensors listed in a message."""


def restore(component: nn.Module, state: Mapping[str, Tensor], folder: RunFolder) -> None:
    """Load the state saved by the run in `folder`.

    Raises PluginError naming the plugin and both its versions if the component now has other tensors, UsageError for numbers
    that are not finite: no training step produces them.
    """
    try:
        component.load_state_dict(state)
    except RuntimeError as error:
        named, how = described(type(component)), _mismatch(component, state, error)
        told = f"{folder.path}: the saved weights do not fit {named}: {how}. {_history(type(component), folder)}"
        raise PluginError(told) from error
    if wrong := [name for name, value in _learnt(component) if not bool(value.isfinite().all())]:
        raise UsageError(
            f"{folder.path}: the saved weights of {described(type(component))} are NaN or infinite in {_listed(wrong)}. "
            "Restore them, or train the run again."
        )


def _learnt(component: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield parameters and the statistics of batch norms; other buffers may be infinite, such as a mask."""
    yield from component.named_parameters()
    yield from ((name, value) for name, value in component.named_buffers() if name.endswith(STATISTICS))


def _mismatch(component: nn.Module, state: Mapping[str, Tensor], error: RuntimeError) -> str:
    """Return how the saved tensors differ from the component's."""
    own = component.state_dict()
    both = [name for name in own if name in state and own[name].shape != state[name].shape]
    found = [
        ("the run did not save ", [name for name in own if name not in state]),
        ("nothing here has ", [name for name in state if name not in own]),
        ("of another shape are ", both),
    ]
    parts = [words + _listed(names) for words, names in found if names]
    return "; ".join(parts) or " ".join(str(error).split())[:300]


def _listed(names: Iterable[str]) -> str:
    known = [repr(name) for name in names]
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return ", ".join(known[:SHOWN]) + more


def _history(component: type, folder: RunFolder) -> str:
    """Return the version of its package that the run recorded, and what to do."""
    entry = installed().declaring(component)
    recorded = "" if entry is None else recorded_versions(folder.config).get(entry.distribution, "")
    if entry is None or not recorded:
        return (
            f"Either {folder.config} or its code has been changed since the training: undo the change, or "
            "train the run again."
        )
    if recorded == entry.version:
        return (
            f"The run was made with {entry.distribution} {recorded}, the installed version, so either "
            f"{folder.config} or the plugin's code has been changed since: undo the change, or train the "
            "run again."
        )
    return (
        f"The run was made with {entry.distribution} {recorded}, and {entry.version} is installed: install "
        f"{entry.distribution}=={recorded}, or train the run again."
    )
