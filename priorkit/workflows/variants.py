"""The priors that a run is measured under: the Gaussian one, the learned one, and the learned one after each stage."""

from priorkit.runs.model import Model

__all__ = ["priors_of"]


def priors_of(model: Model) -> list[tuple[tuple[str, ...], int | None]]:
    """The priors to measure: endings of their figures' names, and the `stages` argument of their draws.

    The learned prior is also the one after its last stage; stages are told apart only where there are several.
    """
    if not model.prior.stages:
        return [(("",), None)]
    if model.prior.stages == 1:
        return [(("_gaussian",), 0), (("",), None)]
    last = model.prior.trained_stages
    between = [((f"_stage_{stage}",), stage) for stage in range(1, last)]
    return [(("_gaussian",), 0), *between, (("", f"_stage_{last}"), None)]
