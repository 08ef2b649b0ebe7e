"""Networks without gradients of their own while a chain runs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn

__all__ = ["held"]


@contextmanager
def held(nets: Sequence[nn.Module]) -> Iterator[None]:
    """The networks' parameters ask for no gradient inside the block."""
    for net in nets:
        net.requires_grad_(False)
    try:
        yield
    finally:
        for net in nets:
            net.requires_grad_(True)
