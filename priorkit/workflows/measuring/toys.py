"""Exact metrics of priors in two dimensions, compared with a known distribution.

The density is normalised by quadrature in data space. Samples are evaluated by their positions: the forbidden area is
everything outside the set of highest true density that has 99.9 % of the mass, and the cells are parts of equal true mass.
"""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from priorkit.data import Dataset, Truth
from priorkit.metrics import Metric, heldout_nll
from priorkit.model import Model
from priorkit.workflows.measuring.variants import figures_of_priors
from priorkit.workflows.sampling.draws import Draws

__all__ = ["toy_figures"]

ALLOWED = 0.999
"""Share of the true mass inside the allowed area."""


def toy_figures(model: Model, data: Dataset, draws: Draws, samples: int) -> Iterator[tuple[str, Metric]]:
    """Yield the held-out negative log-likelihood in nats, that of the true density, and the positions of samples; nothing
    for other data."""
    if data.spec.shape != (2,) or len(model.backbone.layout) != 1 or model.backbone.layout.dim != 2:
        return
    x = data.heldout.batch(torch.arange(len(data.heldout)))

    def log_prob(points: Tensor, stages: int | None) -> Tensor:
        return model.prior.log_prob(model.backbone.infer(points.to(model.backbone.device)).u, stages=stages)

    @torch.no_grad()
    def measured(stages: int | None) -> dict[str, Metric]:
        gaussian = partial(log_prob, stages=0) if model.prior.is_normalised(stages) else None
        return {"": heldout_nll(partial(log_prob, stages=stages), x, same_integral=gaussian)}

    yield from figures_of_priors(model, "nll", measured)
    if data.log_density is not None and len(x) > 1:
        log_density = data.log_density(x)
        error = (log_density.std() / len(x) ** 0.5).item()
        protocol = f"minus the mean of the true log density at {len(x)} held-out points, nats; spread: standard error"
        yield "nll_truth", Metric(-log_density.mean().item(), error, protocol)
    if data.truth is not None and len(x) > 1:
        placed = partial(_placed, data.truth, threshold=float(data.truth.log_density(x).quantile(1 - ALLOWED)))

        def where(name: str, stages: int | None) -> dict[str, Metric]:
            found = placed(model.decode(draws.latents(samples, stages), seed=draws.seed).cpu())
            return {"": found[name]} if name in found else {}

        for name in ("forbidden", "cell_least", "cell_most"):
            yield from figures_of_priors(model, name, partial(where, name))


def _placed(truth: Truth, x: Tensor, *, threshold: float) -> dict[str, Metric]:
    """Return shares of the samples x (N, 2) in the forbidden area and in the cells with the fewest and the most samples."""
    outside = (truth.log_density(x) < threshold).double().mean().item()
    many = f"of {len(x)} samples"
    found = {
        "forbidden": _share(outside, len(x), f"share {many} outside the true set of highest density with {ALLOWED:.1%} mass")
    }
    if truth.cells:
        cell = truth.cell(x)
        shares = torch.bincount(cell[cell >= 0], minlength=truth.cells).double() / len(x)
        for name, value in (("cell_least", shares.min()), ("cell_most", shares.max())):
            protocol = f"share {many} in the cell with the {name[5:]}; each of {truth.cells} has {1 / truth.cells:.1%}"
            found[name] = _share(value.item(), len(x), protocol)
    return found


def _share(value: float, count: int, protocol: str) -> Metric:
    return Metric(value, (value * (1 - value) / count) ** 0.5, f"{protocol}; spread: standard error")
