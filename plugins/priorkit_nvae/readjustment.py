"""Batch-norm statistics of the decoder for samples of the prior at a temperature.

A network trained at temperature 1 on posterior samples has other activations in generation; passing such samples through it
in training mode moves the running statistics there (NVAE, section 4).
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from priorkit_nvae.model import NVAE

__all__ = ["readjust_batch_norm"]


@torch.no_grad()
def readjust_batch_norm(network: "NVAE", draws: Iterable[Tensor], *, temperature: float = 1.0) -> None:
    """Generate from each batch of noise u (B, D) in training mode; modes are restored. 500 batches are usual."""
    modes = {module: module.training for module in network.modules()}
    network.train()
    try:
        for u in draws:
            network.generate(u, temperature=temperature)
    finally:
        for module, mode in modes.items():
            module.training = mode
