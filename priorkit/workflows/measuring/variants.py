"""The priors for which a run is evaluated: the Gaussian prior, the learned prior, and the learned prior after each stage."""

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product

from priorkit.core import Progress, no_progress
from priorkit.errors import UsageError
from priorkit.metrics import Metric
from priorkit.model import Model

__all__ = ["defined", "figures_of_priors", "priors_of"]

log = logging.getLogger(__name__)


def priors_of(model: Model) -> list[tuple[tuple[str, ...], int | None]]:
    """Return the priors to evaluate: suffixes of their metrics' names, and the `stages` argument of their samples.

    The learned prior is also the one after its last stage; it is the Gaussian prior if no stage counts.
    """
    if not model.prior.stages:
        return [(("",), None)]
    last = model.prior.trained_stages
    if last == 0:
        return [(("_gaussian", ""), 0)]
    between = [((f"_stage_{stage}",), stage) for stage in range(1, last)]
    return [(("_gaussian",), 0), *between, (("", f"_stage_{last}"), None)]


def figures_of_priors(
    model: Model, name: str, measured: Callable[[int | None], Mapping[str, Metric]], *, progress: Progress = no_progress
) -> Iterator[tuple[str, Metric]]:
    """Yield names and metrics of each prior; `measured` maps `stages` to metrics, named by what follows the prior's
    suffix."""
    shown = priors_of(model)
    for endings, stages in progress(shown, len(shown), name):
        figures = defined(name + endings[0], partial(measured, stages))
        for ending, (rest, figure) in product(endings, figures.items()):
            yield f"{name}{ending}{rest}", figure


def defined(name: str, measured: Callable[[], Mapping[str, Metric]]) -> Mapping[str, Metric]:
    """Return the metrics, or none and a log message if they cannot be computed."""
    try:
        return measured()
    except UsageError as error:
        log.warning("%s is left out: %s", name, error)
        return {}
