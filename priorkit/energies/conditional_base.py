r"""A diagonal Gaussian of each layer given the layers above, :math:`N(u_i; m_i(u_{<i}), s_i(u_{<i})^2)`.

It is learnt by maximum likelihood.  In u-space a generator's own conditional prior is N(0, I).  Its means come from features
of the generator by a small linear map, and training leaves part of what the features know about the next layer unused.  A
network that sees all features at once takes up that part, with exact draws, an exact density, and no chain.  Where the
posterior's moments are known the expected log density over q(u_i | x, u_<i) is taken in closed form, so that the posterior's
noise, most of what u_i is made of, does not hide the mean.
"""

from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import silu

from priorkit.core import LatentSpace, OptimiserSettings, Settings
from priorkit.energies.context_reader import MapReader
from priorkit.energies.descent import ContextKind, ContextShape, Descent, context_shapes
from priorkit.energies.residual_map import MapBlock
from priorkit.energies.residual_mlp import ResidualBlock
from priorkit.energies.settings import COUPLED_UP_TO
from priorkit.errors import UsageError

__all__ = ["BaseSettings", "ConditionalBase", "LayerGaussian", "conditional_base"]

WIDEST = 2.0
"""Log scales lie within (-2, 2)."""
DENSE_UP_TO = 16_384
"""Numbers of a context and of a layer's moments together, up to which a perceptron reads them all; beyond, convolutions."""


class BaseSettings(Settings):
    """The distribution that conditional ratios are ratios to."""

    kind: Literal["auto", "normal", "conditional"] = "auto"
    """normal: N(0, I); conditional: a Gaussian of each layer given the layers above it, learnt in a stage of its own before
    the ratios; auto: conditional beyond 256 latents, where the backbone offers features of the layers above."""
    width: int = Field(default=384, ge=1)
    """Hidden width; an eighth of it, at least 32, are the channels where convolutions read a large map."""
    depth: int = Field(default=1, ge=0)
    """Residual blocks."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Dropout in each block while training."""
    optimiser: OptimiserSettings = OptimiserSettings(
        name="adamw", lr=1e-3, weight_decay=0.05, schedule="cosine", lr_min=1e-5, clip=10.0
    )
    """How the Gaussians are optimised."""


def conditional_base(settings: BaseSettings, space: LatentSpace) -> "ConditionalBase | None":
    """The networks, or None for N(0, I).  Raises UsageError where the backbone has no features for `kind: conditional`."""
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
    return ConditionalBase(space, "both", settings.width, settings.depth, settings.dropout)


@dataclass(frozen=True)
class LayerGaussian:
    """N(mean, exp(log_scale)^2) of one layer, (B, size) each."""

    mean: Tensor
    log_scale: Tensor

    def place(self, v: Tensor) -> Tensor:
        """u_i of standardised v (B, size)."""
        return torch.addcmul(self.mean, self.log_scale.exp(), v)

    def log_ratio(self, u: Tensor) -> Tensor:
        """log N(u; mean, scale) - log N(u; 0, I), (B, size) -> (B,)."""
        return self.expected_log_ratio(u, torch.zeros_like(u))

    def expected_log_ratio(self, mean: Tensor, scale: Tensor) -> Tensor:
        """Its mean over u ~ N(mean, scale^2), (B, size) each -> (B,), in nats."""
        standard = mean.square() + scale.square()
        own = ((mean - self.mean).square() + scale.square()) * (-2 * self.log_scale).exp()
        return (0.5 * (standard - own) - self.log_scale).sum(1)


class ConditionalBase(nn.Module):
    """One network per layer, top first; every Gaussian is N(0, I) to begin with."""

    def __init__(self, space: LatentSpace, context: ContextKind, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.context = context
        self.nets = nn.ModuleList(
            _net(shape, told, width, depth, dropout)
            for shape, told in zip(space.layout.shapes, context_shapes(space, context), strict=True)
        )

    def at(self, layer: int, descent: Descent) -> LayerGaussian:
        """That of the layer that the descent stands before."""
        told = descent.context(self.context)
        mean, raw = self.nets[layer](told).chunk(2, dim=1)
        return LayerGaussian(mean, WIDEST * torch.tanh(raw / WIDEST))


def _net(shape: tuple[int, ...], context: ContextShape | None, width: int, depth: int, dropout: float) -> nn.Module:
    """A context (B, ...) -> means and raw log scales (B, 2 size), all 0 at first."""
    if context is None:
        return _Constant(prod(shape))
    if context.size + 2 * prod(shape) <= DENSE_UP_TO or len(shape) != 3:
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
        # A generator's features have whatever scale its training gave them; as they are, nothing is learnt for a long time.
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
