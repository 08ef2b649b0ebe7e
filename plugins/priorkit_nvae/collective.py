"""Sums over the processes of a run, differentiable if needed."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["average", "differentiable_sum", "processes"]


def processes() -> int:
    """Return the number of processes; 1 outside a distributed run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def average(values: Tensor) -> Tensor:
    """Return the mean over processes, without a gradient."""
    if processes() == 1:
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total / processes()


class _Sum(torch.autograd.Function):
    """The sum over processes; each process's loss depends on it, so their gradients are summed as well."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def differentiable_sum(values: Tensor) -> Tensor:
    """Return the sum over processes, with the gradient of the sum of all processes' losses."""
    # Torch's own annotation of `apply` depends on the release: none up to 2.13.
    apply: Callable[[Tensor], Tensor] = _Sum.apply
    return apply(values)
