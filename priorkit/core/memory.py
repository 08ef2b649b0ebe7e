"""Memory that does not suffice, a device's or the machine's, in the several ways in which torch tells of it."""

import torch

__all__ = ["ran_out"]

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
    return told or isinstance(inner, torch.OutOfMemoryError | MemoryError)
