r"""Discretised mixtures of logistics for images with a finite number of grey levels.

Source: PixelCNN++ (Salimans et al. 2017, section 2) in the form that NVAE uses.  Grey level k of `levels` is the point
:math:`y = 2k/V - 1` with V = levels - 1; its bin is y +- 1/V, the outermost bins reach to infinity.  A pixel's
probability is a mixture over components; within a component the colours are coupled by
:math:`m_g(r) = m_g + c_0 r`, :math:`m_b(r, g) = m_b + c_1 r + c_2 g`.
"""

from math import log
from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from priorkit.core import Likelihood
from priorkit.errors import UsageError
from priorkit.likelihoods.decoder_output import crop_note, cropped, widened

__all__ = ["LogisticMixture", "MixtureEdges", "mixture_channels"]

MixtureEdges = Literal["half-bin", "nvae"]

SMALLEST_LOG_SCALE = -7.0
UNIFORM_MARGIN = 1e-5


def mixture_channels(channels: int, components: int) -> int:
    """Number of channels that a decoder must give for images of 1 or 3 colour channels."""
    if channels not in (1, 3):
        raise UsageError(f"A logistic mixture needs 1 or 3 image channels, not {channels}; choose another pixel decoder.")
    return components * (3 if channels == 1 else 10)


def _edges(levels: int, published: bool) -> tuple[float, float]:
    """Below the first and above the second value lie the lowest and the highest level.

    NVAE's fixed thresholds are those of every published 8-bit RGB checkpoint; the upper one (0.99) also catches level 254,
    whose probability then includes level 255's.  Elsewhere the edges lie half way to the neighbouring level.
    """
    if published:
        return -0.999, 0.99
    half_bin = 1 / (levels - 1)
    return -1 + half_bin, 1 - half_bin


class LogisticMixture(Likelihood):
    """A mixture of M discretised logistics for each pixel of images (B, channels, H, W) with `levels` grey levels.

    Channels of `logits` (B, `mixture_channels(channels, M)`, H, W): M mixture logits, then for each colour M means,
    M log-scales and (RGB only) M coefficients before their tanh.  `crop` cuts a padded border off.  With `edges` "nvae"
    8-bit RGB has NVAE's thresholds, under which the probabilities of all levels add up to more than 1.
    """

    discrete = True

    def __init__(
        self, logits: Tensor, *, channels: int, levels: int, crop: int = 0, edges: MixtureEdges = "half-bin"
    ) -> None:
        blocks = mixture_channels(channels, 1)
        if logits.shape[1] % blocks or levels < 2:
            raise ValueError(f"LogisticMixture: {logits.shape[1]} channels and {levels} levels for {channels} colours")
        parameters = cropped(widened(logits), crop)
        components = logits.shape[1] // blocks
        self.channels, self.levels = channels, levels
        self.mixture = parameters[:, :components]
        shape = (len(logits), channels, -1, components, *parameters.shape[2:])
        colours = parameters[:, components:].reshape(shape)
        self.means = colours[:, :, 0]
        self.log_scales = colours[:, :, 1].clamp(min=SMALLEST_LOG_SCALE)
        self.coefficients = torch.tanh(colours[:, :, 2]) if channels == 3 else None
        eight_bit_colour = channels == 3 and levels == 256
        self._published = eight_bit_colour and edges == "nvae"
        rule = ", level 254 with 255 (NVAE's edges)" if self._published else ", half-bin edges" if eight_bit_colour else ""
        self.protocol = f"log-probability of {levels} grey levels{rule}{crop_note(crop)}"

    def _component_means(self, y: Tensor) -> Tensor:
        """Means of each colour's components given the colours before it: (B, C, M, H, W) for y (B, C, H, W)."""
        if self.coefficients is None:
            return self.means
        red, green = y[:, 0:1], y[:, 1:2]
        mean_red, mean_green, mean_blue = self.means.unbind(1)
        first, second, third = self.coefficients.unbind(1)
        return torch.stack([mean_red, mean_green + first * red, mean_blue + second * red + third * green], dim=1)

    def pixel_log_prob(self, x: Tensor) -> Tensor:
        """log p of each pixel (its colours together), (B, C, H, W) -> (B, H, W)."""
        y = 2 * x - 1
        distance = y.unsqueeze(2) - self._component_means(y)
        colours = self._bin_log_prob(y.unsqueeze(2), distance).sum(1)
        return torch.logsumexp(colours + F.log_softmax(self.mixture, dim=1), dim=1)

    def _bin_log_prob(self, y: Tensor, distance: Tensor) -> Tensor:
        """log-probability of y's bin under each component's logistic, shapes (B, C, M, H, W)."""
        half_bin = 1 / (self.levels - 1)
        inverse = torch.exp(-self.log_scales)
        upper, centre, lower = inverse * (distance + half_bin), inverse * distance, inverse * (distance - half_bin)
        mass = torch.sigmoid(upper) - torch.sigmoid(lower)
        # Where the two sigmoids cancel, the density at the bin's centre times its width stands for the difference.
        density = centre - self.log_scales - 2 * F.softplus(centre) + log(2 * half_bin)
        inner = torch.where(mass > 1e-5, torch.log(mass.clamp(min=1e-10)), density)
        lowest, highest = _edges(self.levels, self._published)
        inner = torch.where(y > highest, -F.softplus(lower), inner)
        return torch.where(y < lowest, upper - F.softplus(upper), inner)

    def log_prob(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B,), nats; x must lie on the grey levels k / (levels - 1)."""
        return self.pixel_log_prob(x).flatten(1).sum(1)

    @property
    def mean(self) -> Tensor:
        """Each colour's mixture mean given the clamped means before it, clamped to [0, 1] (NVAE's mean image)."""
        weights = torch.softmax(self.mixture, dim=1).unsqueeze(1)
        coefficients = None if self.coefficients is None else (self.coefficients * weights).sum(2)
        return _couple((self.means * weights).sum(2), coefficients)

    def sample(self, generator: Generator | None = None) -> Tensor:
        """(B, C, H, W) in [0, 1]: the logistic before binning, clamped, not rounded to a level (as in NVAE)."""
        like = self.mixture
        shape = (like.shape[0], self.channels, *like.shape[2:])
        draws = [
            torch.rand(size, generator=generator, dtype=like.dtype, device=like.device).mul(1 - 2 * UNIFORM_MARGIN)
            for size in (like.shape, shape)
        ]
        return self.sample_with(draws[0] + UNIFORM_MARGIN, draws[1] + UNIFORM_MARGIN)

    def sample_with(self, component_uniforms: Tensor, logistic_uniforms: Tensor, *, temperature: float = 1.0) -> Tensor:
        """The draw that uniforms in (0, 1) of shapes (B, M, H, W) and (B, C, H, W) give.

        The temperature divides the mixture logits and, as in NVAE's published sampler, the scale: below 1 it makes the
        components more certain and the pixels noisier.
        """
        gumbel = -torch.log(-torch.log(component_uniforms))
        chosen = (self.mixture / temperature + gumbel).argmax(1)[:, None, None]
        index = chosen.expand(-1, self.channels, -1, -1, -1)
        mean, log_scale = (part.gather(2, index).squeeze(2) for part in (self.means, self.log_scales))
        y = mean + torch.exp(log_scale) / temperature * torch.logit(logistic_uniforms)
        return _couple(y, None if self.coefficients is None else self.coefficients.gather(2, index).squeeze(2))


def _couple(y: Tensor, coefficients: Tensor | None) -> Tensor:
    """Add the colours' coupling to y (B, C, H, W), clamping one colour after the other; gives x in [0, 1]."""
    if coefficients is None:
        return 0.5 * y.clamp(-1, 1) + 0.5
    first, second, third = coefficients.unbind(1)
    red = y[:, 0].clamp(-1, 1)
    green = (y[:, 1] + first * red).clamp(-1, 1)
    blue = (y[:, 2] + second * red + third * green).clamp(-1, 1)
    return 0.5 * torch.stack([red, green, blue], dim=1) + 0.5
