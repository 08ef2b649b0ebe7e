"""log q(u | x) of all pairs of points and images, for both directions of inference."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from priorkit.core import Context, Layout, PosteriorDensity, TopDown, gaussian_log_ratio, image_blocks
from priorkit.likelihoods import normal_log_prob

__all__ = ["BottomUpDensity", "TopDownDensity"]

Start = Callable[[int], TopDown]
"""Starts a walk for a batch of the given size."""


class TopDownDensity(PosteriorDensity):
    """prod_i q(z_i | z_{i-1}, x): the networks of the layers below the top are evaluated for each pair."""

    def __init__(self, features: Tensor, layers: Sequence[nn.Module], layout: Layout, start: Start) -> None:
        """features: of the images, (N, hidden)."""
        self._features, self._layers, self._layout, self._start = features, layers, layout, start

    def log_ratio(self, u: Tensor) -> Tensor:
        """Return log q(u_b | x_n) - log N(u_b; 0, I), (B, D) -> (B, N)."""
        walk, above, total = self._start(len(u)), None, u.new_zeros(len(u), len(self._features))
        for layer, part in zip(self._layers, self._layout.split(u), strict=True):
            total = total + self._layer(layer, part, walk.context(), above)
            above = walk.take_noise(part)
        return total

    def _layer(self, layer: nn.Module, u: Tensor, prior: Context, above: Tensor | None) -> Tensor:
        """Return the log ratio of one layer, u (B, d) under z_{i-1} (B, d') -> (B, N)."""
        width = self._features.shape[1] + u.shape[1]
        found = []
        for rows in image_blocks(len(self._features), len(u) * width):
            q = _pairs(layer, self._features[rows], above)
            mean, scale = (q.mean - prior.mean[:, None]) / prior.scale[:, None], q.scale / prior.scale[:, None]
            found.append(gaussian_log_ratio(u[:, None], mean, scale))
        return torch.cat(found, dim=1)


class BottomUpDensity(PosteriorDensity):
    """q(z_{L-1} | x) prod_i q(z_i | z_{i+1}): only the bottom layer's factor depends on the image."""

    def __init__(self, features: Tensor, layers: Sequence[nn.Module], layout: Layout, start: Start) -> None:
        """features: of the images, (N, hidden); layers: from the bottom up."""
        self._layers, self._layout, self._start = layers, layout, start
        self._bottom: Context = layers[0](features)

    def log_ratio(self, u: Tensor) -> Tensor:
        """Return log q(u_b | x_n) - log N(u_b; 0, I), (B, D) -> (B, N)."""
        walk, priors, upward = self._start(len(u)), list[Context](), list[Tensor]()
        for part in self._layout.split(u):
            priors.append(walk.context())
            upward.insert(0, walk.take_noise(part))
        total = u.new_zeros(len(u))
        for layer, below, z, prior in zip(self._layers[1:], upward[:-1], upward[1:], priors[-2::-1], strict=True):
            q: Context = layer(below)
            total = total + (normal_log_prob(z, q.mean, q.scale) - normal_log_prob(z, prior.mean, prior.scale)).sum(1)
        q, prior, bottom = self._bottom, priors[-1], self._layout.split(u)[-1]
        found = []
        for rows in image_blocks(len(q.mean), bottom.numel()):
            mean = (q.mean[rows] - prior.mean[:, None]) / prior.scale[:, None]
            found.append(gaussian_log_ratio(bottom[:, None], mean, q.scale[rows] / prior.scale[:, None]))
        return torch.cat(found, dim=1) + total[:, None]


def _pairs(layer: nn.Module, features: Tensor, above: Tensor | None) -> Context:
    """Return the layer's Gaussian over z for each pair, (B, n, d); (1, n, d) for the top layer, which reads x alone."""
    if above is None:
        q: Context = layer(features)
        return Context(q.mean[None], q.scale[None], None)
    shape = len(above), len(features)
    given = torch.cat([features.expand(*shape, -1), above[:, None].to(features.dtype).expand(*shape, -1)], dim=2)
    q = layer(given.flatten(0, 1))
    return Context(q.mean.reshape(*shape, -1), q.scale.reshape(*shape, -1), None)
