"""The prior hole per layer: the effect of sampling layers from N(0, I) instead of the aggregated posterior.

The hole is the mismatch between the aggregated posterior and the prior.  Latents are combined layer by layer from
posterior samples, N(0, I) and samples of the learned prior, decoded, and compared with real images:

- `hole_top_k`: the top k layers from the posterior, those below from N(0, I); k = 0 is the Gaussian prior, all layers are
  the floor;
- `hole_only_i`: layer i (0 is the top) from N(0, I), the others from the posterior;
- `hole_shuffled`: every layer from the posterior, each of another image: exact marginals, independent layers;
- `hole_prior_top_k`: the top k layers from the learned prior, those below from N(0, I); at best equal to `hole_top_k`.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Generator, Tensor

from priorkit.core import Layout
from priorkit.core.metric import Metric
from priorkit.metrics.joint_distances import interval, joint_distances

__all__ = ["hole_figures", "latents_by_layer", "layers_looked_at"]

ALL_LAYERS = 12
"""Hierarchies of up to this number of layers are evaluated in each of their layers."""
TOP_LAYERS = 8
"""In deeper hierarchies the top layers, where holes are found, then some at equal distances down to the last."""
RESAMPLES = 100

TOLD = {
    "top": "the top {number} layers from posterior samples, those below from N(0, I)",
    "only": "layer {number} (0 is the top) from N(0, I), the others from posterior samples",
    "shuffled": "each layer from a posterior sample, of different images",
    "prior_top": "the top {number} layers from the learned prior, those below from N(0, I)",
}


def layers_looked_at(count: int) -> list[int]:
    """Return the indices of the evaluated layers of a hierarchy with `count` layers, from the top, 0."""
    if count <= ALL_LAYERS:
        return list(range(count))
    more = ALL_LAYERS - TOP_LAYERS
    below = (TOP_LAYERS - 1 + round(step * (count - TOP_LAYERS) / more) for step in range(1, more + 1))
    return [*range(TOP_LAYERS), *below]


def latents_by_layer(
    posterior: Tensor, gaussian: Tensor, prior: Tensor | None, layout: Layout, *, generator: Generator | None = None
) -> Iterator[tuple[str, Tensor]]:
    """Yield the part after `hole_` of the name of each metric, and its latents (N, D), combined from three sets (N, D) in
    u-space.

    `prior` is None if nothing was trained. The generator draws the permutations.
    """
    looked_at = layers_looked_at(len(layout))
    yield "top_0", gaussian
    for layer in looked_at:
        yield f"top_{layer + 1}", _joined(posterior, gaussian, layout.top(layer + 1).dim)
    if len(layout) > 1:
        for layer in looked_at:
            first = layout.offsets[layer]
            mixed = _joined(posterior, gaussian, first)
            yield f"only_{layer}", _joined(mixed, posterior, first + layout.sizes[layer])
        orders = (torch.randperm(len(posterior), generator=generator).to(posterior.device) for _ in layout.sizes)
        parts = [part[order] for part, order in zip(layout.columns(posterior), orders, strict=True)]
        yield "shuffled", torch.cat(parts, dim=1)
    if prior is not None:
        for layer in looked_at:
            yield f"prior_top_{layer + 1}", _joined(prior, gaussian, layout.top(layer + 1).dim)


def hole_figures(
    posterior: Tensor,
    gaussian: Tensor,
    prior: Tensor | None,
    layout: Layout,
    *,
    features: Callable[[Tensor], Tensor],
    real: Tensor,
    comparison: str,
    generator: Generator | None = None,
) -> dict[str, Metric]:
    """Return the metrics above, for latents (N, D) in u-space.

    `features` maps latents to the features (N, F) of their images, `real` (M, F) are those of real images, which must differ
    from the images of the posterior samples; `comparison` describes features and counts.
    """
    mixed = latents_by_layer(posterior, gaussian, prior, layout, generator=generator)
    sets = {name: features(u) for name, u in mixed}
    found = joint_distances(sets, real, generator=generator, resamples=RESAMPLES)
    return {
        f"hole_{name}": Metric(value, found.half_width(name), f"{comparison}; {_told(name)}; {interval(RESAMPLES)}")
        for name, value in found.values.items()
    }


def _joined(upper: Tensor, lower: Tensor, columns: int) -> Tensor:
    """Return the first columns from one set of latents, the rest from another, (N, D)."""
    return torch.cat([upper[:, :columns], lower[:, columns:]], dim=1)


def _told(name: str) -> str:
    kind, _, number = name.rpartition("_") if name[-1].isdigit() else (name, "", "")
    return TOLD[kind].format(number=number)
