"""Log densities with their gradients, as every chain asks for them."""

import torch
from torch import Tensor

from priorkit.mcmc.density import LogProb
from priorkit.mcmc.log_normal import log_normal
from priorkit.mcmc.tilted_normal import TiltedNormal

__all__ = ["ratio_and_gradient", "value_and_gradient"]


@torch.no_grad()
def value_and_gradient(log_prob: LogProb, u: Tensor) -> tuple[Tensor, Tensor]:
    """Returns log p(u), (B,), and its gradient, (B, D), both detached.  Parameters inside log_prob receive no gradient."""
    if not isinstance(log_prob, TiltedNormal):
        return _differentiated(log_prob, u, constant=False)
    ratio, slope = ratio_and_gradient(log_prob.log_ratio, u)
    return ratio + log_normal(u), slope - u


@torch.no_grad()
def ratio_and_gradient(log_ratio: LogProb, u: Tensor) -> tuple[Tensor, Tensor]:
    """Returns log r(u), (B,), and its gradient, (B, D), both detached.

    A ratio may be constant, as that of the Gaussian prior is; its gradient is 0.
    """
    return _differentiated(log_ratio, u, constant=True)


def _differentiated(function: LogProb, u: Tensor, *, constant: bool) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False), torch.enable_grad():
        # A tensor made in inference mode cannot carry a gradient; its copy can.
        leaf = (u.clone() if u.is_inference() else u.detach()).requires_grad_()
        value = function(leaf)
        if constant and not value.requires_grad:
            return value, torch.zeros_like(leaf, requires_grad=False)
        (gradient,) = torch.autograd.grad(value.sum(), leaf, materialize_grads=constant)
    # A copy, since it may be a view of u, which chains move in place.
    return value.detach().clone(), gradient
