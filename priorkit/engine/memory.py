"""A device's memory that does not suffice, in the several ways in which torch tells of it."""

import torch

__all__ = ["ran_out"]

LIBRARIES = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def ran_out(error: BaseException) -> bool:
    """Whether a device had too little memory; the libraries that compute do not use torch's class."""
    inner = getattr(error, "inner_exception", error)  # of torch's compiler
    told = isinstance(error, RuntimeError) and any(name in str(error) for name in LIBRARIES)
    return told or isinstance(inner, torch.OutOfMemoryError)
