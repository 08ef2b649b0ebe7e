"""The value and the gradient of a log density, with respect to the state alone."""

import torch
from torch import Tensor

from priorkit.core import LogProb

__all__ = ["value_and_gradient"]


def value_and_gradient(log_prob: LogProb, u: Tensor) -> tuple[Tensor, Tensor]:
    """log p(u), (B,), and its gradient, (B, D), both detached.  Parameters inside log_prob receive no gradient."""
    with torch.inference_mode(False), torch.enable_grad():
        # A tensor made in inference mode cannot carry a gradient; its copy can.
        state = (u.clone() if u.is_inference() else u.detach()).requires_grad_()
        value = log_prob(state)
        (gradient,) = torch.autograd.grad(value.sum(), state)
    return value.detach(), gradient
