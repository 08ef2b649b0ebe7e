"""Exact figures of priors in two dimensions: the density is normalised by quadrature in the data's own space."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from priorkit.data import Dataset
from priorkit.metrics import Figure, heldout_nll
from priorkit.runs.model import Model
from priorkit.workflows.variants import figures_of_priors

__all__ = ["toy_figures"]


def toy_figures(model: Model, data: Dataset) -> Iterator[tuple[str, Figure]]:
    """Held-out negative log-likelihood in nats, and the true density's own; nothing for other data."""
    if data.spec.shape != (2,) or len(model.backbone.layout) != 1 or model.backbone.layout.dim != 2:
        return
    x = data.heldout.batch(torch.arange(len(data.heldout)))

    def log_prob(points: Tensor, stages: int | None) -> Tensor:
        return model.prior.log_prob(model.backbone.infer(points.to(model.backbone.device)).u, stages=stages)

    @torch.no_grad()
    def measured(stages: int | None) -> dict[str, Figure]:
        return {"": heldout_nll(partial(log_prob, stages=stages), x)}

    yield from figures_of_priors(model, "nll", measured)
    if data.log_density is not None and len(x) > 1:
        log_density = data.log_density(x)
        error = (log_density.std() / len(x) ** 0.5).item()
        protocol = f"minus the mean of the true log density at {len(x)} held-out points, nats; spread: standard error"
        yield "nll_truth", Figure(-log_density.mean().item(), error, protocol)
