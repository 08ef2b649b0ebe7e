"""Networks in another mode for a while: with fixed parameters, or in evaluation mode."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["fixed_parameters", "evaluation_mode"]


@contextmanager
def fixed_parameters(*modules: nn.Module | None) -> Iterator[None]:
    """Parameters that learn do not learn from what is computed in the block; afterwards they learn again."""
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
    """Evaluation mode in the block: a chain needs one density, without dropout."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
