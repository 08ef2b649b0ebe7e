"""z = T(u) that is known already, so that an energy that reads z does not walk the hierarchy again."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

__all__ = ["known_latents", "latents_known"]

_KNOWN: ContextVar[tuple[Tensor, Tensor] | None] = ContextVar("priorkit_known_latents", default=None)


@contextmanager
def latents_known(u: Tensor, z: Tensor) -> Iterator[None]:
    """Inside the block, `Backbone.latents` of this very tensor u (B, D), not of a copy, is z (B, D), with z's gradient."""
    token = _KNOWN.set((u, z))
    try:
        yield
    finally:
        _KNOWN.reset(token)


def known_latents(u: Tensor) -> Tensor | None:
    """Return z of u inside `latents_known`, else None."""
    known = _KNOWN.get()
    return known[1] if known is not None and known[0] is u else None
