"""What a stage's classifiers are worth on held-out points."""

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["Judgement", "judge"]


@dataclass(frozen=True)
class Judgement:
    """Of K classifiers."""

    loss: Tensor
    """The cross-entropy in nats, 2 log 2 for chance, (K,)."""
    auc: Tensor
    """Probability that a positive scores above a negative, (K,)."""

    def better_than_chance(self, least_auc: float) -> Tensor:
        """Which classifiers tell something and are not worse than knowing nothing, (K,) booleans."""
        return (self.loss < 2 * log(2)) & (self.auc >= least_auc)

    def figures(self) -> dict[str, float]:
        """By name: the sum of losses and the mean AUC, and those of each classifier where there are several."""
        found = {"heldout_loss": float(self.loss.sum()), "heldout_auc": float(self.auc.mean())}
        if len(self.loss) > 1:
            for i, (loss, auc) in enumerate(zip(self.loss.tolist(), self.auc.tolist(), strict=True)):
                found |= {f"heldout_loss_layer_{i}": loss, f"heldout_auc_layer_{i}": auc}
        return found


def judge(positive: Tensor, negative: Tensor, *, joint: bool = False) -> Judgement:
    """Of the logits at positives (P, K) and at negatives (N, K); `joint` takes their sums for one classifier."""
    if joint:
        positive, negative = positive.sum(1, keepdim=True), negative.sum(1, keepdim=True)
    loss = softplus(-positive.double()).mean(0) + softplus(negative.double()).mean(0)
    columns = zip(positive.T.contiguous(), negative.T.contiguous(), strict=True)
    return Judgement(loss.cpu(), torch.tensor([_auc(*column) for column in columns], dtype=torch.float64))


def _auc(positive: Tensor, negative: Tensor) -> float:
    """Probability that a positive scores above a negative; ties count half."""
    order = torch.sort(negative).values
    below = torch.searchsorted(order, positive, right=False) + torch.searchsorted(order, positive, right=True)
    return float(below.double().mean() / (2 * len(negative)))
