"""The running average of a learner's weights, which replaces them when a phase ends."""

from itertools import chain

import torch
from torch import Tensor, nn

__all__ = ["ExponentialMovingAverage"]


class ExponentialMovingAverage:
    """w <- d w + (1 - d) p after each step, with d = min(decay, (1 + t) / (10 + t)) so that the start is forgotten."""

    def __init__(self, learner: nn.Module, decay: float) -> None:
        # Batch-norm statistics belong to the weights that they were taken under, so they are averaged along.
        tensors = chain(learner.parameters(), learner.buffers())
        self.tensors = [tensor.detach() for tensor in tensors if tensor.is_floating_point()]
        self.decay = decay
        self.shadow = [tensor.clone() for tensor in self.tensors]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        if self.tensors:  # a learner may have none, and torch takes no empty list
            torch._foreach_lerp_(self.shadow, self.tensors, 1 - decay)

    @torch.no_grad()
    def apply(self) -> None:
        """Overwrite parameters and buffers by their averages."""
        if self.tensors:
            torch._foreach_copy_(self.tensors, self.shadow)

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        return {str(i): value for i, value in enumerate(self.shadow)}

    def load(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        for i, value in enumerate(self.shadow):
            value.copy_(state[str(i)])
