"""Memory that does not suffice, a device's or the machine's, in the several ways in which torch tells of it."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["RUNNING_OUT", "in_parts", "ran_out"]

log = logging.getLogger(__name__)

RUNNING_OUT = (RuntimeError, MemoryError)
"""Classes of every error of which `ran_out` may be true; torch's own and its compiler's are RuntimeErrors."""
TOLD = (
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "DefaultCPUAllocator: ",  # "can't allocate memory", or "not enough memory"
)


def ran_out(error: BaseException) -> bool:
    """Whether there was too little memory; the libraries that compute and the CPU's allocator do not use torch's class."""
    inner = getattr(error, "inner_exception", error)  # of torch's compiler
    told = isinstance(error, RuntimeError) and any(name in str(error) for name in TOLD)
    return told or (isinstance(error, RUNNING_OUT) and isinstance(inner, torch.OutOfMemoryError | MemoryError))


def in_parts(compute: Callable[[Tensor], Tensor], rows: Tensor, what: str) -> Tensor:
    """compute(rows), (B, ...) -> (B, ...), or of halves of the rows, as small as need be, where memory does not suffice.

    `compute` treats each row by itself, but for random numbers that it draws; the log says how many of `what` were too many,
    and how many are taken.  Raises torch's own error where one row alone does not fit.
    """
    try:
        return compute(rows)
    except RUNNING_OUT as error:
        if len(rows) < 2 or not ran_out(error):
            raise
    # Not before the error is gone, which holds on to all that was made.
    if rows.device.type == "cuda":
        torch.cuda.empty_cache()
    half = (len(rows) + 1) // 2
    log.warning("out of memory with %s %s at once: %s are used", len(rows), what, half)
    return torch.cat([in_parts(compute, part, what) for part in torch.split(rows, half)])
