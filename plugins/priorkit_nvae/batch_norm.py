"""Batch normalisation whose training moments are those of the batches of all processes together, or of each batch."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priorkit_nvae.collective import differentiable_sum, processes

__all__ = ["BatchNorm", "BatchNormSwish", "WrappedBatchNorm"]


class BatchNorm(nn.BatchNorm2d):
    """eps 1e-5, running statistics with momentum 0.05."""

    synchronised = True
    """True if moments are those of all processes; the engine sets it to False if `engine.shards` is given."""
    tracking = True
    """True if a batch updates the running statistics; `recomputed` sets it to False for a batch that is processed again."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-5, momentum=0.05)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> same shape."""
        if self.training and self.synchronised and processes() > 1:
            return self._synchronised(x)
        if self.training and not self.tracking and self.running_mean is not None and self.running_var is not None:
            # Statistics that may be updated: this call must store the same tensors for the backward pass as the first one.
            moved = self.running_mean.clone(), self.running_var.clone()
            return F.batch_norm(x, *moved, self.weight, self.bias, training=True, momentum=0.0, eps=self.eps)
        return super().forward(x)

    def _synchronised(self, x: Tensor) -> Tensor:
        values = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        count = values.new_full((1,), values.numel() / values.shape[1])
        sums = differentiable_sum(torch.cat([values.sum((0, 2, 3)), count]))
        total = sums[-1].detach()
        mean = sums[:-1] / total
        centred = values - mean[:, None, None]
        variance = differentiable_sum(centred.square().sum((0, 2, 3))) / total
        self._track(mean.detach(), variance.detach() * total / (total - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None or not self.tracking:
            return
        momentum = 0.05 if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), momentum)
        self.num_batches_tracked.add_(1)


class BatchNormSwish(BatchNorm):
    """Batch normalisation, then x sigmoid(x)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> same shape."""
        return F.silu(super().forward(x))


class WrappedBatchNorm(nn.Module):
    """A batch normalisation one level deeper, where the published file format has it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = BatchNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> same shape."""
        y: Tensor = self.bn(x)
        return y
