"""What a stage's classifiers are worth on held-out points.

A classifier that has learnt its negatives by heart is too sure of itself: its held-out loss may be above chance though it
still ranks points rightly.  One factor for its logit, the one with the least held-out loss, mends that (temperature scaling,
Guo et al. 2017), and is 0 for a classifier that is worth nothing.
"""

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from priorkit.metrics.auc import area_under_roc
from priorkit_multistage.nce import nce_loss

__all__ = ["Judgement", "judge"]

FACTORS = 100


@dataclass(frozen=True)
class Judgement:
    """Of K classifiers."""

    loss: Tensor
    """The cross-entropy in nats, 2 log 2 for chance, (K,)."""
    auc: Tensor
    """Probability that a positive scores above a negative, (K,)."""
    weight: Tensor
    """The factor between 0 and 1 of the logit with the least cross-entropy, (K,)."""
    weighted_loss: Tensor
    """The cross-entropy of the logit times that factor, (K,)."""

    def trust(self, least_auc: float, least_gain: float = 0.0) -> Tensor:
        """The factor of each classifier's logit; 0 where it gains no more than `least_gain` nats over chance, (K,)."""
        tells = (self.weighted_loss < 2 * log(2) - least_gain) & (self.auc >= least_auc)
        return torch.where(tells, self.weight, 0.0)

    def figures(self) -> dict[str, float]:
        """By name: the sum of losses and the mean AUC, and those of each classifier where there are several."""
        found = {"heldout_loss": float(self.loss.sum()), "heldout_auc": float(self.auc.mean())}
        if len(self.loss) > 1:
            for i, (loss, auc) in enumerate(zip(self.loss.tolist(), self.auc.tolist(), strict=True)):
                found |= {f"heldout_loss_layer_{i}": loss, f"heldout_auc_layer_{i}": auc}
        return found | {"heldout_weighted_loss": float(self.weighted_loss.sum())}


def judge(positive: Tensor, negative: Tensor, *, joint: bool = False) -> Judgement:
    """Of the logits at positives (P, K) and at negatives (N, K); `joint` takes their sums for one classifier."""
    if joint:
        positive, negative = positive.sum(1, keepdim=True), negative.sum(1, keepdim=True)
    # The cross-entropy is convex in the factor, so that a hundredth's grid finds its minimum to a hundredth.
    grid = torch.linspace(0, 1, FACTORS + 1, dtype=torch.float64, device=positive.device)
    losses = torch.stack([nce_loss(factor * positive.double(), factor * negative.double()) for factor in grid]).cpu()
    best = losses.min(0)
    areas = area_under_roc(positive.T, negative.T).cpu()
    return Judgement(losses[-1], areas, best.indices / FACTORS, best.values)
