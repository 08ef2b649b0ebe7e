"""The run-time hooks of a run's components, each guarded so that a failure is reported once and affects nothing else."""

import functools
import inspect
import logging
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pluggy

from priorkit.errors import PluginError, said
from priorkit.registry.hookspecs import HookSpecs

__all__ = ["hooks"]

log = logging.getLogger(__name__)


def hooks(components: Iterable[object]) -> pluggy.PluginManager:
    """Return a manager on which `manager.hook.priorkit_log(phase=..., ...)` calls every component with that hook.

    Raises PluginError for a hook without a specification or with other arguments.
    """
    manager = pluggy.PluginManager("priorkit")
    manager.add_hookspecs(HookSpecs)
    try:
        for component in {id(component): component for component in components}.values():
            if methods := listeners(component):
                manager.register(SimpleNamespace(**methods), name=f"{described(component)} {id(component):x}")
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(f"a plugin implements a hook with a wrong signature: {error}") from error
    return manager


def listeners(component: object) -> dict[str, Callable[..., Any]]:
    """Return the marked methods of a component, by name, each guarded. Properties are not accessed."""
    names = (name for name in dir(component) if hasattr(inspect.getattr_static(component, name, None), "priorkit_impl"))
    return {name: guarded(getattr(component, name), component) for name in names}


def guarded(method: Callable[..., Any], component: object) -> Callable[..., Any]:
    """Return the method, disabled from its first failure on."""
    failed = False

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal failed
        if failed:
            return None
        try:
            return method(*args, **kwargs)
        except Exception as error:  # third-party code may raise anything
            failed = True
            told = (method.__name__, described(component), said(error))
            log.warning("%s of %s failed and is disabled for this run: %s", *told)
            log.debug("the traceback", exc_info=True)
            return None

    return call


def described(component: object) -> str:
    """Return the class of a component with its module."""
    return f"{type(component).__module__}.{type(component).__qualname__}"
