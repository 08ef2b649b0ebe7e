"""Activations that are recomputed in the backward pass instead of being stored."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from priorkit_nvae.batch_norm import BatchNorm

__all__ = ["recomputed"]


def recomputed(module: nn.Module, forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return forward(x), a function of the module, storing only x; the same values, gradients and running statistics."""

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _seen_before(module)

    # No cell uses random numbers.
    result: Tensor = checkpoint(forward, x, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)
    return result


@contextmanager
def _seen_before(module: nn.Module) -> Iterator[None]:
    """Keep the running statistics when a batch is processed for the second time."""
    norms = [part for part in module.modules() if isinstance(part, BatchNorm)]
    for norm in norms:
        norm.tracking = False
    try:
        yield
    finally:
        for norm in norms:
            norm.tracking = True
