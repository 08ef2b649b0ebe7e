r"""log q(u | x) of all pairs of points and images.

The last convolution before the parameters of :math:`q(z_i \mid x, z_{<i})` is linear, and its input is the sum of a feature
of x and one of :math:`z_{<i}`. So the parameters of a pair are the sum of two maps, of which each image and each walk of a
point needs only its own.
"""

from typing import cast

import torch
from torch import Tensor

from priorkit.core import PosteriorDensity, gaussian_log_ratio, image_blocks
from priorkit.likelihoods import full_precision
from priorkit_nvae.gaussian import Gaussian
from priorkit_nvae.inference import encode
from priorkit_nvae.network import NvaeNetwork
from priorkit_nvae.walk import Walk

__all__ = ["NvaeDensity"]


class NvaeDensity(PosteriorDensity):
    """q(u | x_n) of N padded images, for a network without flows."""

    def __init__(self, network: NvaeNetwork, image: Tensor) -> None:
        """image: (N, C, R, R) in [0, 1]."""
        self._network = network
        top, reads = encode(network, image)
        self._combiners = [combiner for combiner, _ in reads]
        features = [top, *(remembered for _, remembered in reads)]
        self._own = [full_precision(s, part) for s, part in zip(network.enc_sampler, features, strict=True)]

    def log_ratio(self, u: Tensor) -> Tensor:
        """Return log q(u_b | x_n) - log N(u_b; 0, I), (B, D) -> (B, N)."""
        walk, total = Walk(self._network, len(u), 1.0), u.new_zeros(len(u), len(self._own[0]))
        for group, part in enumerate(self._network.layout.split(u)):
            prior = walk.prior()
            total = total + self._group(group, part, prior, self._of_walk(group, walk))
            walk.take(prior.at(part))
        return total

    def _of_walk(self, group: int, walk: Walk) -> Tensor:
        """Return the part of the raw parameters that depends on the walk, (B, 2 L, h, w)."""
        network, prior = self._network, walk.parameters()
        residual = prior if network.settings.res_dist and group else torch.zeros_like(prior)
        if group == 0:
            return residual
        sampler, feature = network.enc_sampler[group], self._combiners[group - 1].conv(walk.feature())
        # Each image's part has the bias already.
        return full_precision(sampler, feature) - cast(Tensor, sampler.bias)[:, None, None] + residual

    def _group(self, group: int, u: Tensor, prior: Gaussian, of_walk: Tensor) -> Tensor:
        """Return the log ratio of one group, u (B, L, h, w) -> (B, N)."""
        own, found = self._own[group], []
        for rows in image_blocks(len(own), of_walk.numel()):
            parameters = of_walk[:, None] + own[None, rows]
            q, shape = Gaussian.of(parameters.flatten(0, 1)), (*parameters.shape[:2], *u.shape[1:])
            mean, scale = q.mean.reshape(shape), q.scale.reshape(shape)
            ratio = (mean - prior.mean[:, None]) / prior.scale[:, None], scale / prior.scale[:, None]
            found.append(gaussian_log_ratio(u[:, None], *ratio))
        return torch.cat(found, dim=1)
