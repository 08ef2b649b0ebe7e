"""The loss of noise-contrastive estimation, a binary cross-entropy (Gutmann and Hyvarinen 2010; the paper, eq. 7)."""

from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["nce_loss"]


def nce_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """Return the loss in nats, for the logits of K classifiers at positives (P, K) and at negatives (N, K): (K,); 2 log 2 is
    chance."""
    return softplus(-positive).mean(0) + softplus(negative).mean(0)
