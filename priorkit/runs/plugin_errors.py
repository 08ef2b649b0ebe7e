"""Validates the results of third-party priors, so that errors name the package."""

import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from torch import Tensor

from priorkit.core import Backbone, Draw, Loss, Prior, frozen
from priorkit.errors import PluginError, PriorkitError, said
from priorkit.registry import installed
from priorkit.runtime.memory import ran_out

__all__ = ["blamed", "checked_draw", "checked_log_ratio", "checked_loss", "described", "probe", "traced"]


def described(component: type) -> str:
    """Return a component's plugin and distribution, or its class if it was not loaded by name."""
    entry = installed().declaring(component)
    return f"{component.__module__}.{component.__qualname__}" if entry is None else f"plugin {entry.key} of {entry.origin}"


def ours(component: type) -> bool:
    """Return True for built-in components."""
    entry = installed().declaring(component)
    return entry is not None and entry.own


@contextmanager
def blamed(component: type, doing: str) -> Iterator[None]:
    """Convert exceptions of a third-party component in the block to a PluginError that names it; built-in ones keep their
    traceback."""
    try:
        yield
    except PriorkitError:
        raise
    except Exception as error:  # third-party code may raise anything
        if ours(component) or ran_out(error):
            raise
        raise PluginError(f"{described(component)}: {doing} failed with {said(error)}") from error


@contextmanager
def traced(components: Iterable[type]) -> Iterator[None]:
    """Convert exceptions from the packages of the given third-party components to a PluginError that names component and
    line; all others keep their traceback."""
    try:
        yield
    except PriorkitError:
        raise
    except Exception as error:  # third-party code may raise anything
        third_party = [component for component in components if not ours(component)]
        found = _culprit(error, third_party)
        if found is None or ran_out(error):
            raise
        component, frame, line = found
        place = f"{frame.f_globals['__name__']}, line {line}"
        problem = f"{frame.f_code.co_name} failed with {said(error)} ({place})"
        raise PluginError(f"{described(component)}: {problem}") from error


def _culprit(error: Exception, third_party: Iterable[type]) -> tuple[type, FrameType, int] | None:
    """Return the innermost frame of a third-party package, with its component and line."""
    packages = {component.__module__.partition(".")[0]: component for component in third_party}
    modules = {component.__module__: component for component in third_party}
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        name = str(frame.f_globals.get("__name__", ""))
        component = modules.get(name) or packages.get(name.partition(".")[0])
        if component is not None:
            return component, frame, line
    return None


def probe(prior: Prior, backbone: Backbone) -> None:
    """Verify that the log ratio has one finite value per row. Raises PluginError."""
    kind = prior.implementation
    parameter = next(prior.parameters(), torch.empty(0))
    u = torch.zeros(2, prior.layout.dim, dtype=parameter.dtype, device=backbone.device)
    u[1] = 0.5
    with frozen(prior, backbone), torch.no_grad(), blamed(kind, "log_ratio"):
        value = checked_log_ratio(prior, prior.log_ratio(u), u)
    if not bool(torch.isfinite(value).all()):
        raise PluginError(f"{described(kind)}: log_ratio is NaN or infinite near the origin, before any training.")


def checked_log_ratio(prior: Prior, value: Tensor, u: Tensor) -> Tensor:
    """Return the log ratio at u (B, D), (B,). Raises PluginError for another shape."""
    if not isinstance(value, Tensor) or value.shape != (len(u),):
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        kind = described(prior.implementation)
        raise PluginError(f"{kind}: log_ratio of u {tuple(u.shape)} must return the shape {(len(u),)}, got {shape}.")
    return value


def checked_draw(prior: Prior, draw: Draw, n: int) -> Draw:
    """Return n samples. Raises PluginError for another shape, and if none of a third-party prior's samples is finite."""
    kind, wanted = prior.implementation, (n, prior.layout.dim)
    if not isinstance(draw, Draw) or draw.u.shape != wanted:
        shape = tuple(draw.u.shape) if isinstance(draw, Draw) else type(draw).__name__
        raise PluginError(f"{described(kind)}: draw({n}).u must have the shape {wanted}, got {shape}.")
    if not ours(kind) and not bool(torch.isfinite(draw.u).all(1).any()):
        raise PluginError(f"{described(kind)}: all of {n} samples are NaN or infinite.")
    return draw


def checked_loss(owner: Callable[[], type], objective: str, loss: Loss) -> Loss:
    """Return the result of an objective of the component `owner()`. Raises PluginError unless it is a `Loss` with a
    scalar."""
    if isinstance(loss, Loss) and isinstance(loss.value, Tensor) and loss.value.numel() == 1:
        return loss
    got = type(loss).__name__
    if isinstance(loss, Loss):
        value = loss.value
        got = f"one of the shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"one of {type(value).__name__}"
    raise PluginError(
        f"{described(owner())}: the loss of its objective {objective!r} must return a "
        f"priorkit.core.Loss with one number, Loss(value), got {got}."
    )
