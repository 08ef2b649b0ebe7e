"""The walk of a backbone with one layer."""

from collections.abc import Callable

from torch import Tensor

from priorkit.core import Context, Likelihood, TopDown

__all__ = ["OneLayerWalk"]


class OneLayerWalk(TopDown):
    """z = mean + scale u with constant mean and scale (C, h, w), or broadcastable to it; then the decoder."""

    def __init__(self, mean: Tensor, scale: Tensor, shape: tuple[int, ...], decode: Callable[[Tensor], Likelihood]) -> None:
        self._context = Context(mean.expand(shape), scale.expand(shape), None)
        self._decode = decode
        self._z: Tensor | None = None

    def context(self) -> Context:
        """Return the prior of the only layer."""
        return self._context

    def take(self, z: Tensor) -> None:
        """Fix the layer at z (B, C, h, w)."""
        self._z = z

    def decode(self) -> Likelihood:
        """Return p(x | z)."""
        if self._z is None:
            raise ValueError("decode() before the layer was taken")
        return self._decode(self._z)
