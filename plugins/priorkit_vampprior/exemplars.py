"""The posteriors of random training images as components, and the factor on their scales."""

from math import log

import torch
from torch import Generator, Tensor

from priorkit.core import Latents, Layout
from priorkit_vampprior.mixture import Components

__all__ = ["best_factor", "exemplars", "same_image"]

FACTORS = tuple(2 ** (step / 4) for step in range(-24, 17))
"""Factors on the scales that are compared, 1/64 to 16: the small ones are for points without a posterior's scale."""
SMALLEST_SCALE = 1e-6


def exemplars(points: Latents, number: int, layout: Layout, generator: Generator) -> list[Components]:
    """Return for each layer the posteriors of `number` random points, float32; each is used once if there are enough.

    Without the posterior's moments a component is at its sample, with the standard deviation of all samples as its scale.
    """
    order = torch.randperm(len(points), generator=generator).repeat(-(-number // len(points)))[:number]
    chosen = points[order.to(points.u.device)]
    mean, scale = chosen.mean, chosen.scale
    if mean is None or scale is None:
        mean, scale = chosen.u, points.u.std(0, correction=0).expand_as(chosen.u)
    parts = zip(layout.columns(mean.float()), layout.columns(scale.float()), strict=True)
    return [Components(means, scales.clamp(min=SMALLEST_SCALE).log()) for means, scales in parts]


@torch.no_grad()
def best_factor(components: Components, u: Tensor, own: Tensor | None = None) -> float:
    """Return the factor of `FACTORS` on all scales with the highest mean log density at points u (M, d).

    `own` (M, K) is True where a component is the posterior of the point's own image, which is left out.
    """
    distances, size = components.distances(u), u.shape[1]
    volumes = -components.log_scales.double().sum(1).expand_as(distances)
    if own is not None:
        volumes = volumes.masked_fill(own, float("-inf"))
    values = torch.stack(
        [(volumes - 0.5 * distances / factor**2).logsumexp(1).mean() - size * log(factor) for factor in FACTORS]
    )
    return FACTORS[int(values.argmax())]


def same_image(points: Latents, components: Components, layout: Layout) -> Tensor:
    """Return where the components of the top layer are posteriors of the images of the points, (M, K).

    They are recognised by the posterior's first mean, which in the top layer depends on the image alone.
    """
    means = points.u if points.mean is None else points.mean
    return layout.columns(means)[0][:, :1].float() == components.means[:, 0]
