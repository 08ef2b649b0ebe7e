"""Residual networks over the flat latent, conditioned on the scale."""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from priorkit.core import Layout
from priorkit.energies.fourier import FourierFeatures
from priorkit.energies.scale_network import ScaleNetwork, ScaleTask
from priorkit_vdrme.settings import NetSettings
from priorkit_vdrme.third_party_networks import foreign_network

__all__ = ["GeneratorNet", "ScaleNet", "build_generator", "build_net"]

LOW_DIMENSION = 3
"""Largest number of coordinates that are read with Fourier features by default."""


class Modulation(nn.Module):
    """A factor and a shift for each scale and label, initially 1 and 0."""

    def __init__(self, width: int, choices: int) -> None:
        super().__init__()
        self.tables = nn.Linear(choices, 2 * width, bias=False)
        nn.init.zeros_(self.tables.weight)

    def forward(self, h: Tensor, chosen: Tensor) -> Tensor:
        """(B, width) and one-hot rows (B, choices) -> (B, width)."""
        factor, shift = self.tables(chosen.to(h.dtype)).chunk(2, dim=1)
        return torch.addcmul(h + shift, h, factor)


class ScaleBlock(nn.Module):
    """h + W silu(modulated W' silu(h)); W' may read other columns in addition to silu(h)."""

    def __init__(self, settings: NetSettings, choices: int, *, beside: int = 0) -> None:
        super().__init__()
        width = settings.width
        self.first = nn.Linear(width + beside, width)
        self.modulation = Modulation(width, choices)
        self.dropout = nn.Dropout(settings.dropout)
        self.second = nn.Linear(width, width)

    def forward(self, h: Tensor, chosen: Tensor, beside: Tensor | None = None) -> Tensor:
        """(B, width), (B, choices) and the other columns -> (B, width)."""
        active = silu(h)
        hidden = self.first(active if beside is None else torch.cat([active, beside], dim=1))
        result: Tensor = h + self.second(self.dropout(silu(self.modulation(hidden, chosen))))
        return result


class ScaleNet(nn.Module):
    """(B, inputs) at scales (B,) -> (B, outputs), all initially 0.

    With `classes` it is also conditioned on labels (B,); with `beside` it reads so many additional columns, unchanged.
    """

    def __init__(
        self, settings: NetSettings, inputs: int, outputs: int, scales: int, *, classes: int = 0, beside: int = 0
    ) -> None:
        super().__init__()
        fourier = settings.features == "fourier" or (settings.features == "auto" and inputs <= LOW_DIMENSION)
        self.features = FourierFeatures(inputs) if fourier else None
        self.scales, self.classes = scales, classes
        width, count = settings.width, inputs if self.features is None else self.features.outputs
        self.stem = nn.Linear(count + beside, width)
        self.modulation = Modulation(width, scales + classes)
        self.blocks = nn.ModuleList(ScaleBlock(settings, scales + classes) for _ in range(settings.depth))
        self.head = nn.Linear(width, outputs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def chosen(self, level: Tensor, labels: Tensor | None, like: Tensor) -> Tensor:
        """Return one-hot rows of scale and label, (B, scales + classes); without a label its part is 0."""
        rows = like.new_zeros(len(level), self.scales + self.classes)
        rows.scatter_(1, level[:, None], 1)
        return rows if labels is None or not self.classes else rows.scatter_(1, self.scales + labels[:, None], 1)

    def enter(self, x: Tensor, chosen: Tensor, beside: Tensor | None = None) -> Tensor:
        """Return the first hidden state, (B, width)."""
        read = x if self.features is None else self.features(x)
        hidden = self.stem(read if beside is None else torch.cat([read, beside], dim=1))
        result: Tensor = self.modulation(hidden, chosen)
        return result

    def leave(self, h: Tensor, chosen: Tensor) -> Tensor:
        """Apply the blocks and the output, (B, outputs)."""
        for block in self.blocks:
            h = block(h, chosen)
        result: Tensor = self.head(silu(h))
        return result

    def forward(self, x: Tensor, level: Tensor, labels: Tensor | None = None, beside: Tensor | None = None) -> Tensor:
        """(B, inputs), (B,) -> (B, outputs)."""
        chosen = self.chosen(level, labels, x)
        return self.leave(self.enter(x, chosen, beside), chosen)


class GeneratorNet(ScaleNet):
    """(B, D) and noise (B, N) at scales (B,) -> (B, D).

    The noise enters through a separate residual block that initially adds nothing.
    """

    def __init__(self, settings: NetSettings, dim: int, noise: int, scales: int, *, classes: int = 0) -> None:
        super().__init__(settings, dim, dim, scales, classes=classes)
        self.inject = ScaleBlock(settings, scales + classes, beside=noise)
        nn.init.zeros_(self.inject.second.weight)
        nn.init.zeros_(self.inject.second.bias)

    def generate(self, x: Tensor, noise: Tensor, level: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, D), (B, N), (B,) -> (B, D)."""
        chosen = self.chosen(level, labels, x)
        h: Tensor = self.inject(self.enter(x, chosen), chosen, noise)
        return self.leave(h, chosen)


class ForeignGenerator(nn.Module):
    """A network of another package as a generator."""

    def __init__(self, net: ScaleNetwork) -> None:
        super().__init__()
        self.net = net

    def generate(self, x: Tensor, noise: Tensor, level: Tensor, labels: Tensor | None = None) -> Tensor:
        """(B, D), (B, D), (B,) -> (B, D)."""
        result: Tensor = self.net(x, level, labels, noise)
        return result


def build_net(
    settings: NetSettings, layout: Layout, outputs: int, times: tuple[int, ...], *, beside: int = 0
) -> ScaleNet | ScaleNetwork:
    """Return a network over u at scales of the given times, (B, D), (B,) -> (B, outputs), all initially 0; it reads `beside`
    additional points of D columns."""
    if settings.network == "mlp":
        return ScaleNet(settings, layout.dim, outputs, len(times), beside=beside * layout.dim)
    return foreign_network(settings.network, settings.options, ScaleTask(layout, times, outputs, beside))


def build_generator(
    settings: NetSettings, layout: Layout, times: tuple[int, ...], *, classes: int = 0
) -> GeneratorNet | ForeignGenerator:
    """Return a network of points of the given times and noise, (B, D) each, which returns points."""
    if settings.network == "mlp":
        return GeneratorNet(settings, layout.dim, layout.dim, len(times), classes=classes)
    task = ScaleTask(layout, times, None, 1, classes)
    return ForeignGenerator(foreign_network(settings.network, settings.options, task))
