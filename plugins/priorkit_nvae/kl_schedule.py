r"""KL warm-up and balancing, NVAE (Vahdat and Kautz 2020), section 3.2 and appendix A.

While the KL's weight :math:`\beta` is below 1, each group's KL has a coefficient that is larger where the KL is large
for the size of its scale, so that no group is switched off early.
"""

import torch
from torch import Tensor

from priorkit_nvae.geometry import Geometry
from priorkit_nvae.settings import NvaeSettings

__all__ = ["balance_coefficients", "kl_weight", "scale_sizes"]


def kl_weight(settings: NvaeSettings, step: int, total: int) -> float:
    """Return beta at a step of a phase of `total` steps."""
    if settings.kl_anneal_portion == 0:
        return 1.0
    share = (step / total - settings.kl_const_portion) / settings.kl_anneal_portion
    return max(min(share, 1.0), settings.kl_const_coeff)


def scale_sizes(geometry: Geometry) -> Tensor:
    """Return alpha (G,): the relative number of latents of each group's scale, shared among the groups; its minimum is 1."""
    top = len(geometry.groups) - 1
    alpha = torch.tensor([4.0 ** (top - scale) / geometry.groups[scale] for scale in geometry.scales])
    return alpha / alpha.min()


def balance_coefficients(kl: Tensor, alpha: Tensor) -> Tensor:
    """Return coefficients (G,) of mean 1 for a batch's KL (B, G); constants without a gradient."""
    size = kl.detach().abs().mean(0) + 0.01
    coefficients = size / alpha * size.sum()
    return coefficients / coefficients.mean()
