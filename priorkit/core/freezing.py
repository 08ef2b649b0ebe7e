"""Which modules learn: in training mode with gradients, or in evaluation mode without."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["frozen", "set_learning"]


def set_learning(module: nn.Module, learning: bool) -> None:
    """The whole module learns, or is frozen."""
    module.train(learning).requires_grad_(learning)


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Freeze the modules while the block runs, then put each part back as it was: not all of it need have learned."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    flags = [(parameter, parameter.requires_grad) for module in modules for parameter in module.parameters()]
    for module in modules:
        set_learning(module, False)
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
