"""Single precision, whatever torch's default type is: a notebook may have set it to double for its own work."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["single_precision"]


@contextmanager
def single_precision() -> Iterator[None]:
    """New tensors are float32 while the block, or the decorated function, runs; the caller's default type is given back."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
