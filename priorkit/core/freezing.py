"""Trainable and frozen modules: training mode with gradients, or evaluation mode without gradients."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["frozen", "set_learning"]


def set_learning(module: nn.Module, learning: bool) -> None:
    """Make the whole module trainable, or freeze it."""
    module.train(learning).requires_grad_(learning)


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Freeze the modules within the block, then restore the previous state of each submodule and parameter."""
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
