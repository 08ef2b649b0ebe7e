"""Prior samples and posterior samples, layer by layer."""

import torch
from matplotlib.figure import Figure

from priorkit.errors import UsageError
from priorkit.report.layer_projections import layer_projections
from priorkit.workflows.sampling.draws import Draws
from priorkit.workflows.session import Session

__all__ = ["against_posterior"]

POSTERIOR_POINTS = 500
DRAWS = 2_000
MAX_LAYERS = 6


def against_posterior(session: Session, *, seed: int = 0, draws: Draws | None = None) -> Figure:
    """Plot each layer of u with at least two coordinates (of deep hierarchies six, including the top and the lowest):
    posterior samples of up to 500 held-out data on the density of 2,000 samples of the Gaussian and of the learned prior.

    `draws`, with the same seed, avoids sampling again. Raises UsageError if no layer has two coordinates.
    """
    model, draws = session.model, draws or Draws(session.model, seed=seed)
    layout = model.backbone.layout
    wide = [i for i, size in enumerate(layout.sizes) if size > 1]
    if not wide:
        raise UsageError("--layers: no layer of this run has at least two coordinates.")
    chosen = [wide[i] for i in torch.linspace(0, len(wide) - 1, min(len(wide), MAX_LAYERS)).round().int().tolist()]
    data = session.data.heldout if len(session.data.heldout) else session.data.train
    points = layout.columns(model.infer(data.batch(torch.arange(min(POSTERIOR_POINTS, len(data)))), seed=seed).u)
    priors = {"Gaussian prior": 0} | ({f"{session.config.prior.name} prior": None} if model.prior.stages else {})
    drawn = {title: layout.columns(draws.latents(DRAWS, stages)) for title, stages in priors.items()}
    return layer_projections(
        {f"layer {i}": points[i] for i in chosen}, {title: [u[i] for i in chosen] for title, u in drawn.items()}
    )
