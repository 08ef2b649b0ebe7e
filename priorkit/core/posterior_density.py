r"""log q(u | x) as a function of u, for given images.

In u-space the posterior's mean and scale of layer i depend on x and on the layers above, so that
:math:`q(u \mid x) = \prod_i q(u_i \mid u_{<i}, x)` at a point that was not drawn from it needs the decoder's walk of that
point and the encoder's features of that image. A `PosteriorDensity` holds the features, and walks each point once for all
images.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["DiagonalPosterior", "PosteriorDensity", "gaussian_log_ratio", "image_blocks"]

NUMBERS = 2**22
"""Numbers of pairs of a point and an image that are computed at once, 16 MiB in single precision."""


class PosteriorDensity(ABC):
    """q(u | x_n) of N images."""

    @abstractmethod
    def log_ratio(self, u: Tensor) -> Tensor:
        """Return log q(u_b | x_n) - log N(u_b; 0, I) of all pairs, in nats, (B, D) -> (B, N)."""


class DiagonalPosterior(PosteriorDensity):
    """The posterior of one layer, N(mean_n, scale_n^2), which depends on nothing but the image."""

    def __init__(self, mean: Tensor, scale: Tensor) -> None:
        """mean and scale: (N, D), in u-space."""
        self._mean, self._scale = mean, scale

    def log_ratio(self, u: Tensor) -> Tensor:
        """Return the log ratio of all pairs, (B, D) -> (B, N)."""
        blocks = image_blocks(len(self._mean), u.numel())
        parts = [gaussian_log_ratio(u[:, None], self._mean[None, rows], self._scale[None, rows]) for rows in blocks]
        return torch.cat(parts, dim=1)


def gaussian_log_ratio(u: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Return log N(u; mean, scale^2) - log N(u; 0, I), summed over all axes after the first two, (B, N, ...) -> (B, N).

    The arguments are broadcast.
    """
    terms = 0.5 * (u.square() - ((u - mean) / scale).square()) - scale.log()
    return terms.flatten(2).sum(2)


def image_blocks(images: int, numbers: int) -> Iterator[slice]:
    """Yield the images 0 ... images - 1 in blocks, where one image needs that many numbers."""
    size = max(1, NUMBERS // max(1, numbers))
    for first in range(0, images, size):
        yield slice(first, min(first + size, images))
