"""The parts in which two samples in u-space are compared: all of u, each layer, the top k layers.

Squared distances and inner products are sums over the layers, so each part costs one addition once the layers are computed.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Generator, Tensor

from priorkit.core import Layout
from priorkit.errors import UsageError

__all__ = ["MIN_POINTS", "checked_pair", "number_of_parts", "sums_of_layers"]

MIN_POINTS = 20


def sums_of_layers(terms: Iterable[Tensor], layers: int) -> Iterator[tuple[str, Tensor]]:
    """Yield the terms of the layers, top first, as 'layer_0' ... 'layer_{L-1}', and their sums as 'top_2' ... 'top_{L-1}'
    and 'all'; a single layer is only 'all'."""
    total: Tensor | None = None
    for index, term in enumerate(terms):
        total = term if total is None else total + term
        if layers > 1:
            yield f"layer_{index}", term
        if index + 1 == layers:
            yield "all", total
        elif index:
            yield f"top_{index + 1}", total


def number_of_parts(layers: int) -> int:
    """Return the number of parts that `sums_of_layers` yields."""
    return max(1, 2 * layers - 1)


def checked_pair(
    metric: str, posterior_u: Tensor, prior_u: Tensor, layout: Layout, points: int, generator: Generator | None
) -> tuple[Tensor, Tensor]:
    """Return both samples, (N, D) and (M, D), in float64; if there are more than `points` rows, a random choice.

    Raises UsageError for fewer than 20 rows, a D that differs from the layout's, or values that are not finite.
    """
    for name, u in (("posterior", posterior_u), ("prior", prior_u)):
        if u.ndim != 2 or u.shape[1] != layout.dim:
            raise UsageError(f"{metric}: expected {name} samples (N, {layout.dim}), got {tuple(u.shape)}")
        if not bool(torch.isfinite(u).all()):
            raise UsageError(
                f"{metric}: the {name} samples are not all finite; the chains diverged; decrease sampler.step_size"
            )
        if min(len(u), points) < MIN_POINTS:
            raise UsageError(f"{metric}: at least {MIN_POINTS} samples of each are needed, got {min(len(u), points)}")
    return _some(posterior_u, points, generator), _some(prior_u, points, generator)


def _some(u: Tensor, points: int, generator: Generator | None) -> Tensor:
    if len(u) > points:
        u = u[torch.randperm(len(u), generator=generator)[:points].to(u.device)]
    return u.double()
