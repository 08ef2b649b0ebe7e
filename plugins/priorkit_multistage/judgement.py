"""The quality of a stage's classifiers on held-out points.

A classifier that has memorised its negatives is overconfident: its held-out loss may be above chance although it still ranks
points correctly. Multiplying its logit by the factor with the lowest held-out loss corrects this (temperature scaling, Guo
et al. 2017); the factor is 0 for a useless classifier.
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
    """The validation of K classifiers."""

    loss: Tensor
    """Cross-entropy in nats, 2 log 2 for chance, (K,)."""
    auc: Tensor
    """Probability that a positive has a higher score than a negative, (K,)."""
    weight: Tensor
    """Factor between 0 and 1 of the logit with the lowest cross-entropy, (K,)."""
    weighted_loss: Tensor
    """Cross-entropy of the logit times that factor, (K,)."""

    def trust(self, least_auc: float, least_gain: float = 0.0) -> Tensor:
        """Return the factor of each classifier's logit; 0 if it gains no more than `least_gain` nats over chance, (K,)."""
        tells = (self.weighted_loss < 2 * log(2) - least_gain) & (self.auc >= least_auc)
        return torch.where(tells, self.weight, 0.0)

    def figures(self) -> dict[str, float]:
        """Return by name the sum of losses and the mean AUC, and those of each classifier if there are several."""
        found = {"heldout_loss": float(self.loss.sum()), "heldout_auc": float(self.auc.mean())}
        if len(self.loss) > 1:
            for i, (loss, auc) in enumerate(zip(self.loss.tolist(), self.auc.tolist(), strict=True)):
                found |= {f"heldout_loss_layer_{i}": loss, f"heldout_auc_layer_{i}": auc}
        return found | {"heldout_weighted_loss": float(self.weighted_loss.sum())}


def judge(positive: Tensor, negative: Tensor, *, joint: bool = False) -> Judgement:
    """Return the validation from logits at positives (P, K) and at negatives (N, K); `joint` sums them for one
    classifier."""
    if joint:
        positive, negative = positive.sum(1, keepdim=True), negative.sum(1, keepdim=True)
    # The cross-entropy is convex in the factor, so a grid with spacing 0.01 finds its minimum to 0.01.
    grid = torch.linspace(0, 1, FACTORS + 1, dtype=torch.float64, device=positive.device)
    losses = torch.stack([nce_loss(factor * positive.double(), factor * negative.double()) for factor in grid]).cpu()
    best = losses.min(0)
    areas = area_under_roc(positive.T, negative.T).cpu()
    return Judgement(losses[-1], areas, best.indices / FACTORS, best.values)
