"""Networks in another mode temporarily: with fixed parameters, or in evaluation mode."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["evaluation_mode", "fixed_parameters"]


@contextmanager
def fixed_parameters(*modules: nn.Module | None) -> Iterator[None]:
    """Fix the parameters inside the block: they get no gradient from it; afterwards they are trainable again."""
    learning = [p for module in modules if module is not None for p in module.parameters() if p.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Use evaluation mode inside the block: a chain needs one density, without dropout."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
