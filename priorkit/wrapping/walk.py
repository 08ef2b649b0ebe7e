"""The walk down the layers of a wrapped VAE."""

from collections.abc import Callable

from torch import Tensor

from priorkit.core import Context, Layout, Likelihood, TopDown
from priorkit.wrapping.functions import Functions

__all__ = ["WrappedWalk"]


class WrappedWalk(TopDown):
    """p(z_0) = N(0, I), then each layer given all layers above it."""

    def __init__(
        self,
        functions: Functions,
        layout: Layout,
        origin: Tensor,
        temperature: float,
        decode: Callable[[list[Tensor]], Likelihood],
    ) -> None:
        """origin: a zero tensor of the top layer's shape, (B, *shape_0)."""
        self._functions, self._layout, self._temperature, self._decode = functions, layout, temperature, decode
        self._context: Context | None = Context(origin, origin + temperature, None)
        self._z: list[Tensor] = []

    def context(self) -> Context:
        """Return the conditional prior of the next layer."""
        if self._context is None:
            if len(self._z) == len(self._layout):
                raise ValueError(f"context(): all {len(self._layout)} layers are taken")
            prior = self._functions.prior(self._z, self._layout.shapes[len(self._z)])
            self._context = Context(prior.mean, prior.scale * self._temperature, None)
        return self._context

    def take(self, z: Tensor) -> None:
        """Set the next layer to z (B, *shape_i)."""
        self._z.append(z)
        self._context = None

    def decode(self) -> Likelihood:
        """Return p(x | z)."""
        if len(self._z) != len(self._layout):
            raise ValueError(f"decode(): {len(self._z)} of {len(self._layout)} layers are taken")
        return self._decode(self._z)
