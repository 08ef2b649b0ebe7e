"""Single precision on the CPU unless a device is named, whatever a notebook has set for its own work."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

import torch

__all__ = ["single_precision"]

_lock = Lock()
_inside = 0
_before = torch.float32


@contextmanager
def single_precision() -> Iterator[None]:
    """New tensors are float32 and on the CPU, and nothing is rounded by the caller's autocast, while the block, or the
    decorated function, runs; the caller's default type and device are given back."""
    with _float32(), ExitStack() as stack:
        # Each mode costs time in every call of torch: entered only where there is something to undo.
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def _float32() -> Iterator[None]:
    """The default type is the whole process's: the first thread to come in keeps the caller's, the last gives it back."""
    global _inside, _before
    with _lock:
        if not _inside:
            _before = torch.get_default_dtype()
        _inside += 1
        torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            torch.set_default_dtype(torch.float32 if _inside else _before)
