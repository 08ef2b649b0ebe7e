"""The walk down a chain of vector latents."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from priorkit.core import Context, Likelihood, TopDown

__all__ = ["ChainWalk"]


class ChainWalk(TopDown):
    """p(z_0) = N(0, I), then each layer given only the one above it; x from the last.

    `origin` is a zero tensor of the top layer's shape (B, d_0); `conditionals` are p(z_i | z_{i-1}) for i >= 1.
    """

    def __init__(
        self, origin: Tensor, conditionals: Sequence[nn.Module], decode: Callable[[Tensor], Likelihood], temperature: float
    ) -> None:
        self._conditionals, self._decode, self._temperature = conditionals, decode, temperature
        self._context: Context | None = Context(origin, origin + temperature, None, standard=temperature == 1.0)
        self._taken = 0
        self._z = origin

    def context(self) -> Context:
        """Return the conditional prior of the next layer; the features are the last hidden layer of its network."""
        if self._context is None:
            if self._taken > len(self._conditionals):
                raise ValueError(f"context(): all {self._taken} layers are taken")
            prior: Context = self._conditionals[self._taken - 1](self._z)
            self._context = Context(prior.mean, prior.scale * self._temperature, prior.features)
        return self._context

    def take(self, z: Tensor) -> None:
        """Fix the next layer at z (B, d_i)."""
        self._z, self._context = z, None
        self._taken += 1

    def decode(self) -> Likelihood:
        """Return p(x | z) from the bottom layer."""
        if self._taken != len(self._conditionals) + 1:
            raise ValueError(f"decode(): {self._taken} of {len(self._conditionals) + 1} layers are taken")
        return self._decode(self._z)
