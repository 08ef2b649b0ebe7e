"""log q(u | x) of all pairs of points and images, where q(z | x) is a product over the layers."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from priorkit.core import Context, Layout, PosteriorDensity, TopDown, gaussian_log_ratio, image_blocks

__all__ = ["FactorisedDensity"]


class FactorisedDensity(PosteriorDensity):
    """prod_i q(z_i | x); in u-space its moments depend on the layers above, through the conditional priors."""

    def __init__(self, moments: Sequence[Context], layout: Layout, start: Callable[[int], TopDown]) -> None:
        """moments: the Gaussians over z of each layer, (N, *shape_i); start: starts a walk for a batch of a given size."""
        self._moments, self._layout, self._start = moments, layout, start

    def log_ratio(self, u: Tensor) -> Tensor:
        """Return log q(u_b | x_n) - log N(u_b; 0, I), (B, D) -> (B, N)."""
        walk, total = self._start(len(u)), u.new_zeros(len(u), len(self._moments[0].mean))
        for q, part in zip(self._moments, self._layout.split(u), strict=True):
            total = total + _layer(q, part, walk.context())
            walk.take_noise(part)
        return total


def _layer(q: Context, u: Tensor, prior: Context) -> Tensor:
    """Return the log ratio of one layer, u (B, *shape_i) -> (B, N)."""
    found = []
    for rows in image_blocks(len(q.mean), u.numel()):
        mean = (q.mean[None, rows] - prior.mean[:, None]) / prior.scale[:, None]
        found.append(gaussian_log_ratio(u[:, None], mean, q.scale[None, rows] / prior.scale[:, None]))
    return torch.cat(found, dim=1)
