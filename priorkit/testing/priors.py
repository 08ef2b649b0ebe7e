"""Checks of priors."""

from priorkit.testing import prior_draws, prior_resuming, prior_training, prior_values
from priorkit.testing.body import Body

__all__ = ["CHECKS"]

CHECKS: list[Body] = [*prior_values.CHECKS, *prior_draws.CHECKS, *prior_training.CHECKS, *prior_resuming.CHECKS]
