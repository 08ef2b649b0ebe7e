"""The metrics declared by packages: if one fails, the log reports it, and the others are still computed."""

import logging
from collections.abc import Iterable, Mapping
from math import inf, isfinite
from typing import Any

from priorkit.core import Metric
from priorkit.errors import FellowError, InterruptedRunError, PluginError, PriorkitError, UsageError, said
from priorkit.registry import Entry, installed
from priorkit.runtime.memory import ran_out
from priorkit.workflows.measuring.shared_work import SharedWork, SharingMetric

__all__ = ["measured_figures"]

log = logging.getLogger(__name__)


def measured_figures(names: Iterable[str], work: SharedWork) -> dict[str, Metric]:
    """Return the values of these metrics by name, built-in metrics first.

    Two built-in groups may compute the same metric: the first one's value is used. No other metric may use a name that is
    taken. Exceptions of metrics are logged; a programming error in a built-in metric is raised.
    """
    found: dict[str, Metric] = {}
    for entry, metric in _in_order(names):
        try:
            figures = metric.of(work) if isinstance(metric, SharingMetric) else _called(metric, work)
            found = _checked(entry, figures, found) | found
        except (FellowError, InterruptedRunError):
            raise
        except PriorkitError as error:
            if entry.own and not isinstance(error, UsageError):
                raise
            log.warning("%s is left out: %s", entry.name if entry.own else f"metric {entry.name}", error)
        except Exception as error:  # third-party code may raise anything
            if entry.own or ran_out(error):
                raise
            log.warning("metric %s of %s is left out: it raised %s", entry.name, entry.origin, said(error))
            log.debug("the traceback", exc_info=True)
    return found


def _in_order(names: Iterable[str]) -> list[tuple[Entry, Any]]:
    """Return the usable metrics in order; the log reports the others."""
    found = []
    for name in dict.fromkeys(names):
        try:
            entry = installed().resolve("metric", name)
            found.append((entry, installed().load_entry(entry)))
        except PriorkitError as error:
            log.warning("metric %s is left out: %s", name, error)
    return sorted(found, key=lambda item: getattr(item[1], "order", inf) if item[0].own else inf)


def _called(metric: Any, work: SharedWork) -> Any:
    return metric(work.model, work.data, samples=work.samples, seed=work.seed)


def _checked(entry: Entry, figures: object, taken: Mapping[str, Metric]) -> dict[str, Metric]:
    """Return the result. Raises PluginError naming the plugin if it is not a mapping of finite metrics or replaces
    others."""
    told = f"plugin {entry.key} of {entry.origin}"
    if not isinstance(figures, Mapping) or not all(isinstance(figure, Metric) for figure in figures.values()):
        raise PluginError(f"{told} must give a mapping of names to priorkit.core.Metric, got {type(figures).__name__}.")
    if entry.own:
        return dict(figures)
    if wrong := [str(name) for name, figure in figures.items() if not isfinite(figure.value)]:
        raise PluginError(f"{told} gives metrics that are not finite: {', '.join(wrong)}.")
    if twice := sorted(set(taken) & set(figures)):
        raise PluginError(f"{told} gives metrics whose names others have: {', '.join(twice)}.")
    return dict(figures)
