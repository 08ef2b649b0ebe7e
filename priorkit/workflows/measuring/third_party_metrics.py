"""Figures of plugins of kind `metric`: one that fails costs a line in the log, and no other figure."""

import logging
from collections.abc import Iterable, Mapping
from math import isfinite

from priorkit.data import Dataset
from priorkit.errors import FellowError, InterruptedRunError, PluginError, PriorkitError, said
from priorkit.metrics import Metric
from priorkit.model import Model
from priorkit.registry import Entry, installed
from priorkit.runtime.memory import ran_out

__all__ = ["figures_of_plugins", "third_party_metrics"]

log = logging.getLogger(__name__)


def third_party_metrics() -> list[str]:
    """The names of the installed metrics, sorted; none is imported."""
    return installed().names("metric")


def figures_of_plugins(
    names: Iterable[str], model: Model, data: Dataset, *, samples: int, seed: int, taken: Iterable[str] = ()
) -> dict[str, Metric]:
    """The figures of these metrics by name; what a metric may not call its figures is `taken`."""
    found: dict[str, Metric] = {}
    for name in names:
        try:
            entry = installed().resolve("metric", name)
            figures = installed().load_entry(entry)(model, data, samples=samples, seed=seed)
            found |= _checked(entry, figures, {*taken, *found})
        except (FellowError, InterruptedRunError):
            raise
        except PriorkitError as error:
            log.warning("metric %s is left out: %s", name, error)
        except Exception as error:  # a third party's code may raise anything
            if ran_out(error):
                raise
            log.warning("metric %s of %s is left out: it raised %s", name, entry.origin, said(error))
            log.debug("the traceback", exc_info=True)
    return found


def _checked(entry: Entry, figures: object, taken: set[str]) -> dict[str, Metric]:
    """Raises PluginError naming the plugin for what are no figures, are not finite, or would replace others."""
    told = f"plugin {entry.key} of {entry.origin}"
    if not isinstance(figures, Mapping) or not all(isinstance(figure, Metric) for figure in figures.values()):
        raise PluginError(f"{told} must give a mapping of names to priorkit.metrics.Metric, got {type(figures).__name__}.")
    if wrong := [str(name) for name, figure in figures.items() if not isfinite(figure.value)]:
        raise PluginError(f"{told} gives figures that are not finite: {', '.join(wrong)}.")
    if twice := sorted(taken & set(figures)):
        raise PluginError(f"{told} gives figures whose names others have: {', '.join(twice)}.")
    return dict(figures)
