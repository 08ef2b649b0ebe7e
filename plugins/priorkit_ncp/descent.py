"""One walk down the layers for a batch: what the classifier of each layer reads, and what it is told of those above."""

from typing import Literal

import torch
from torch import Tensor

from priorkit.core import LatentSpace, TopDown
from priorkit.errors import UsageError

__all__ = ["ContextKind", "Descent", "context_shapes"]

ContextKind = Literal["none", "decoder", "upper"]


class Descent:
    """Stands before the top layer; `take` goes below the layer that it stands before.

    The generator is walked only where its features or its latents are read.
    """

    def __init__(self, space: LatentSpace, batch: int, context: ContextKind, energy_input: Literal["u", "z"]) -> None:
        self._kind = context
        self._input = energy_input
        self._layers = len(space.layout)
        walked = context == "decoder" or energy_input == "z"
        self._walk: TopDown | None = space.top_down(batch) if walked else None
        self._above: list[Tensor] = []

    def context(self) -> Tensor | None:
        """What the layer's classifier is told, (B, ...); None before the top layer, and where it is told nothing."""
        if not self._above or self._kind == "none":
            return None
        if self._kind == "upper":
            return torch.cat(self._above, dim=1)
        return None if self._walk is None else self._walk.context().features

    def read(self, u: Tensor) -> Tensor:
        """What the classifier reads of candidates u_i (B, N, *shape_i): themselves, or their z_i."""
        if self._walk is None or self._input == "u":
            return u
        prior = self._walk.context()
        return prior.mean[:, None] + prior.scale[:, None] * u

    def take(self, u: Tensor) -> None:
        """Fix the layer at u_i (B, *shape_i)."""
        self._above.append(self.read(u[:, None]).flatten(1))
        if self._walk is not None and len(self._above) < self._layers:
            self._walk.take_noise(u)


@torch.no_grad()
def context_shapes(space: LatentSpace, kind: ContextKind) -> list[tuple[int, ...] | None]:
    """The shape of each layer's context without the batch axis; None for no context, as always at the top.

    For `decoder` a batch of two is walked down.  Raises UsageError where the generator has no features below the top.
    """
    offsets = space.layout.offsets
    if kind == "none" or len(offsets) == 1:
        return [None] * len(offsets)
    if kind == "upper":
        return [None, *((offset,) for offset in offsets[1:])]
    walk, shapes = space.top_down(2), list[tuple[int, ...] | None]([None])
    for _ in offsets[1:]:
        walk.take_noise(torch.zeros_like(walk.context().mean))
        features = walk.context().features
        if features is None:
            raise UsageError("prior.context: this backbone has no features to offer; use --set prior.context=upper.")
        shapes.append(tuple(features.shape[1:]))
    return shapes
