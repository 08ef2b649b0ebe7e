r"""A Gaussian of each layer given the layers above, :math:`N(u_i; m_i(u_{<i}), S_i(u_{<i}) C_i S_i(u_{<i}))`, S_i diagonal.

It is trained by maximum likelihood. In u-space a generator's conditional prior is N(0, I). Its means are a small linear map
of features of the generator, and training leaves a part of what these features say about the next layer unused. A network of
all features can learn that part, with exact samples, an exact density, and no chain. If the posterior's moments are known,
the expected log density over q(u_i | x, u_<i) is computed in closed form, so that the posterior's noise, which is most of
u_i, does not hide the mean. Networks give m_i and S_i with C_i = I; then C_i, one for all contexts, is computed from the
residuals in closed form.
"""

from collections.abc import Iterable, Iterator
from math import prod
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import silu

from priorkit.core import Latents, LatentSpace, Layout, OptimiserSettings, Settings
from priorkit.energies.context_reader import MapReader
from priorkit.energies.descent import ContextKind, ContextShape, Descent, context_shapes
from priorkit.energies.layer_gaussian import LayerGaussian, second_moments
from priorkit.energies.residual_map import MapBlock
from priorkit.energies.residual_mlp import ResidualBlock
from priorkit.energies.settings import COUPLED_UP_TO
from priorkit.errors import UsageError
from priorkit.runtime.on_host import OnHost

__all__ = ["BaseSettings", "ConditionalBase", "conditional_base", "layers_for_ratios"]

MAX_LOG_SCALE = 2.0
"""Log scales are in (-2, 2)."""
SMALLEST_MAP = 4
"""Smallest side of a map for convolutions; perceptrons memorise the training images there."""
LARGE = 512
"""Number of latents of a layer from which a Gaussian is better than a ratio."""
CORRELATED_UP_TO = 2_048
"""Largest number of latents of a layer with correlated entries: the size of the factor is its square."""


class BaseSettings(Settings):
    """The density in the denominator of conditional ratios."""

    kind: Literal["auto", "normal", "conditional"] = "auto"
    """Base density. normal: N(0, I); conditional: a Gaussian of each layer given the layers above, trained in a
    separate stage before the ratios; auto: conditional with more than 256 latents if the backbone offers features of
    the layers above, else normal."""
    covariance: Literal["full", "diagonal"] = "full"
    """Covariance of a conditional Gaussian. full: entries of a layer of up to 2,048 latents are correlated, with the
    same correlations for all values of the layers above, if that improves the held-out likelihood (by a nat or more if
    the layer also gets a ratio: a ratio to a Gaussian with correct second moments has no easy differences to start
    with, and may learn nothing); diagonal: independent entries."""
    width: int = Field(default=384, ge=1)
    """Hidden width; convolutions, which read maps of side 4 or more, have an eighth of it as channels, but at least 32."""
    depth: int = Field(default=2, ge=0)
    """Number of residual blocks."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Dropout in each block in training."""
    optimiser: OptimiserSettings = OptimiserSettings(
        name="adamw", lr=1e-3, weight_decay=0.05, schedule="cosine", lr_min=1e-5, clip=10.0
    )
    """Optimiser of the Gaussians."""


def conditional_base(settings: BaseSettings, space: LatentSpace) -> "ConditionalBase | None":
    """Return the networks, or None for N(0, I). Raises UsageError if the backbone has no features for `kind:
    conditional`."""
    small = settings.kind == "auto" and space.layout.dim <= COUPLED_UP_TO
    if settings.kind == "normal" or len(space.layout) == 1 or small:
        return None
    with torch.no_grad():
        offered = space.features(torch.zeros(2, space.layout.dim)) is not None
    if not offered:
        if settings.kind == "auto":
            return None
        raise UsageError(
            "prior.base.kind: this backbone offers no features of the layers above; use --set prior.base.kind=normal."
        )
    return ConditionalBase(space, "both", settings)


def layers_for_ratios(layout: Layout, selection: str | int = "auto") -> tuple[int, ...]:
    """Return the layers that get a ratio: `Layout.select`'s, or with `auto` those that are small enough to learn a ratio to
    their Gaussian, all layers if none is."""
    if selection != "auto":
        return layout.select(str(selection))
    return tuple(i for i, size in enumerate(layout.sizes) if size < LARGE) or layout.select("all")


class ConditionalBase(nn.Module):
    """One network per layer, top first; every Gaussian is initially N(0, I)."""

    correlated: Tensor
    """Layers in which the factor is used, (L,), a buffer of booleans."""

    def __init__(self, space: LatentSpace, context: ContextKind, settings: BaseSettings) -> None:
        super().__init__()
        self.context, self.layout = context, space.layout
        self.nets = nn.ModuleList(
            _net(shape, told, settings.width, settings.depth, settings.dropout)
            for shape, told in zip(space.layout.shapes, context_shapes(space, context), strict=True)
        )
        sizes = space.layout.sizes if settings.covariance == "full" else ()
        for i, size in enumerate(sizes):
            if 1 < size <= CORRELATED_UP_TO:
                self.register_buffer(f"factor_{i}", torch.eye(size))
        self._correlated = OnHost()
        self.register_buffer("correlated", torch.zeros(len(space.layout), dtype=torch.bool))

    def at(self, layer: int, descent: Descent) -> LayerGaussian:
        """Return the Gaussian of the descent's next layer; uncorrelated while networks are trained."""
        told = descent.context(self.context)
        mean, raw = self.nets[layer](told).chunk(2, dim=1)
        counts = not self.training and self._correlated(self.correlated)[layer]
        factor = self.get_buffer(f"factor_{layer}") if counts else None
        return LayerGaussian(mean, MAX_LOG_SCALE * torch.tanh(raw / MAX_LOG_SCALE), factor)

    def gains(self, batch: Latents, descent: Descent) -> Tensor:
        """Return the log density over N(0, I) at N points of the posterior, in nats, (N, L); if the posterior's moments are
        known, its mean over each layer's posterior. The descent is walked down."""
        return torch.stack([own.expected_log_ratio(*moments) for own, moments in self._over(batch, descent)], dim=1)

    @torch.no_grad()
    def correlate(self, parts: Iterable[tuple[Latents, Descent]]) -> None:
        """Set the factors to those of highest likelihood at points of the posterior, with the networks fixed.

        Noise of known scale enters by its variance, so that a few thousand points are enough. A layer with more than half as
        many latents as there are points is left uncorrelated.
        """
        self.correlated.fill_(False)
        buffers = dict(self.named_buffers(recurse=False))
        factors = {i: buffers[f"factor_{i}"] for i in range(len(self.layout)) if f"factor_{i}" in buffers}
        totals, count = {i: torch.zeros_like(factor, dtype=torch.float64) for i, factor in factors.items()}, 0
        for batch, descent in parts:
            count += len(batch)
            for i, (own, moments) in enumerate(self._over(batch, descent)):
                if i in totals:
                    totals[i] += second_moments(*own.standardised(*moments))
        for i, total in totals.items():
            factor, failed = torch.linalg.cholesky_ex(total / max(count, 1))
            if count >= 2 * len(total) and not int(failed):
                factors[i].copy_(factor)
                self.correlated[i] = True

    def _over(self, batch: Latents, descent: Descent) -> Iterator[tuple[LayerGaussian, tuple[Tensor, Tensor]]]:
        """Yield each layer's Gaussian, and mean and scale of its posterior (N, size); u and 0 if they are not known."""
        mean = batch.u if batch.mean is None else batch.mean
        scale = torch.zeros_like(mean) if batch.scale is None else batch.scale
        columns = zip(self.layout.columns(mean), self.layout.columns(scale), self.layout.split(batch.u), strict=True)
        for i, (own_mean, own_scale, taken) in enumerate(columns):
            yield self.at(i, descent), (own_mean, own_scale)
            descent.take(taken)


def _net(shape: tuple[int, ...], context: ContextShape | None, width: int, depth: int, dropout: float) -> nn.Module:
    """Return a network of a context (B, ...) -> means and raw log scales (B, 2 size), all initially 0."""
    if context is None:
        return _Constant(prod(shape))
    if len(shape) != 3 or min(shape[1:]) < SMALLEST_MAP:
        return _Dense(context.size, prod(shape), width, depth, dropout)
    return _Convolutional(context, shape, max(32, width // 8), depth, dropout)


class _Constant(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.moments = nn.Parameter(torch.zeros(1, 2 * size))

    def forward(self, context: Tensor | None) -> Tensor:
        return self.moments


class _Dense(nn.Module):
    def __init__(self, inputs: int, size: int, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        # A generator's features have an arbitrary scale; without normalisation, nothing is learnt for a long time.
        self.standardise = nn.BatchNorm1d(inputs, affine=False)
        self.stem = nn.Linear(inputs, width)
        self.blocks = nn.Sequential(*(ResidualBlock(width, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, 2 * size)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, context: Tensor) -> Tensor:
        hidden = self.blocks(self.stem(self.standardise(context.flatten(1))))
        result: Tensor = self.last(silu(self.norm(hidden)))
        return result


class _Convolutional(nn.Module):
    def __init__(self, context: ContextShape, shape: tuple[int, ...], channels: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.reader = MapReader(context, (channels, *shape[1:]))
        self.blocks = nn.Sequential(*(MapBlock(channels, dropout) for _ in range(depth)))
        self.norm = nn.GroupNorm(1, channels)
        self.last = nn.Conv2d(channels, 2 * shape[0], 1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, context: Tensor) -> Tensor:
        result: Tensor = self.last(silu(self.norm(self.blocks(self.reader(context)))))
        return result.flatten(1)
