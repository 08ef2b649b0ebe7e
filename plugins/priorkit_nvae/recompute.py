"""Activations that are computed again on the way back instead of being kept."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from priorkit_nvae.batch_norm import BatchNorm

__all__ = ["recomputed"]


def recomputed(module: nn.Module, forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """forward(x), a function of the module, of which only x is kept; the same values, gradients and running statistics."""

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _seen_before(module)

    # No cell draws random numbers.
    result: Tensor = checkpoint(forward, x, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)
    return result


@contextmanager
def _seen_before(module: nn.Module) -> Iterator[None]:
    """The second time a batch passes, running statistics stay."""
    norms = [part for part in module.modules() if isinstance(part, BatchNorm)]
    for norm in norms:
        norm.tracking = False
    try:
        yield
    finally:
        for norm in norms:
            norm.tracking = True
