"""Two-phase training: the backbone by its ELBO; then, frozen, the prior on its aggregated posterior."""

from priorkit_twophase.trainer import TwoPhaseSettings, TwoPhaseTrainer

__all__ = ["TwoPhaseSettings", "TwoPhaseTrainer"]
