"""One walk down the layers for a batch: the input of each layer's network, and its context from the layers above."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor

from priorkit.core import LatentSpace, TopDown
from priorkit.errors import UsageError

__all__ = ["ContextKind", "ContextShape", "Descent", "context_shapes"]

ContextKind = Literal["none", "decoder", "upper", "both"]


@dataclass(frozen=True)
class ContextShape:
    """The parts of a layer's context."""

    parts: tuple[tuple[int, ...], ...]
    """Shapes of the parts without the batch axis: the generator's features, then the layers above, as far as they are
    used."""
    flat: bool
    """True if the parts are flattened and concatenated, (B, sum of sizes); else there is one part, in its original shape."""

    @property
    def size(self) -> int:
        """The number of entries of one row's context."""
        return sum(prod(part) for part in self.parts)


class Descent:
    """Starts before the top layer; `take` moves to the next layer.

    The generator is walked only if its features or its latents are requested.
    """

    def __init__(
        self, space: LatentSpace, batch: int, energy_input: Literal["u", "z"] = "u", features: Sequence[Tensor] | None = None
    ) -> None:
        """`features` are those of each layer below the top, (B, ...) each, if they are known beforehand."""
        self._space, self._batch, self._input, self._features = space, batch, energy_input, features
        self._walk: TopDown | None = None
        self._taken: list[Tensor] = []
        self._above: list[Tensor] = []

    def context(self, kind: ContextKind) -> Tensor | None:
        """Return the context of the next layer's network, (B, ...); None before the top layer, and if there is no
        context."""
        if not self._taken or kind == "none":
            return None
        if kind == "upper":
            return torch.cat(self._above, dim=1)
        features = self._read_features()
        return features if kind == "decoder" else torch.cat([features.flatten(1), *self._above], dim=1)

    def read(self, u: Tensor) -> Tensor:
        """Return the network's input for candidates u_i (B, N, *shape_i): themselves, or their z_i."""
        if self._input == "u":
            return u
        prior = self._walked().context()
        return prior.mean[:, None] + prior.scale[:, None] * u

    def take(self, u: Tensor) -> None:
        """Fix the layer at u_i (B, *shape_i)."""
        self._above.append(self.read(u[:, None]).flatten(1))
        self._taken.append(u)
        if self._walk is not None and len(self._taken) < len(self._space.layout):
            self._walk.take_noise(u)

    def _read_features(self) -> Tensor:
        if self._features is not None:
            return self._features[len(self._taken) - 1].to(self._taken[-1].dtype)  # they may be stored in half precision
        features = self._walked().context().features
        if features is None:
            raise UsageError("prior.context: this backbone has no features to offer; use --set prior.context=upper.")
        return features

    def _walked(self) -> TopDown:
        """Return the generator's walk at the current layer, created on first use."""
        if self._walk is None:
            self._walk = self._space.top_down(self._batch)
            for u in self._taken:
                self._walk.take_noise(u)
        return self._walk


@torch.no_grad()
def context_shapes(space: LatentSpace, kind: ContextKind) -> list[ContextShape | None]:
    """Return the shape of each layer's context; None for no context, as always at the top.

    For the generator's features a batch of two is walked down. Raises UsageError if it has none below the top.
    """
    shapes = space.layout.shapes
    if kind == "none":
        return [None] * len(shapes)
    if kind == "upper":
        return [None, *(ContextShape(shapes[:i], True) for i in range(1, len(shapes)))]
    walk, found = space.top_down(2), list[ContextShape | None]([None])
    for i in range(1, len(shapes)):
        walk.take_noise(torch.zeros_like(walk.context().mean))
        features = walk.context().features
        if features is None:
            raise UsageError("prior.context: this backbone has no features to offer; use --set prior.context=upper.")
        own = tuple(features.shape[1:])
        found.append(ContextShape((own, *shapes[:i]), True) if kind == "both" else ContextShape((own,), False))
    return found
