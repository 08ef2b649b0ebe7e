"""The classifiers' loss, and what they are worth on held-out points."""

from torch import Tensor
from torch.nn.functional import softplus

from priorkit.metrics.auc import area_under_roc

__all__ = ["bridge_losses", "figures"]


def bridge_losses(positive: Tensor, negative: Tensor) -> Tensor:
    """Return the cross-entropies in nats of logits at positives and negatives, (B, C, K) each: (C, K); 2 log 2 is chance."""
    return softplus(-positive).mean(0) + softplus(negative).mean(0)


def figures(positive: Tensor, negative: Tensor) -> dict[str, float]:
    """Return the loss and the AUC of each bridge, over C classifiers the sum and the mean, and the sum of all losses."""
    losses = bridge_losses(positive.double(), negative.double()).sum(0)
    areas = area_under_roc(positive.permute(1, 2, 0), negative.permute(1, 2, 0)).mean(0)
    found = {"heldout_loss": float(losses.sum())}
    for k, (loss, area) in enumerate(zip(losses.tolist(), areas.tolist(), strict=True)):
        found |= {f"heldout_loss_bridge_{k}": loss, f"heldout_auc_bridge_{k}": area}
    return found
