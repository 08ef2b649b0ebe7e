"""Networks that let gradients through to their inputs and gather none themselves."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["frozen"]


@contextmanager
def frozen(*modules: nn.Module | None) -> Iterator[None]:
    """Parameters that learn do not learn from what is computed in the block; afterwards they learn again."""
    learning = [p for module in modules if module is not None for p in module.parameters() if p.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
