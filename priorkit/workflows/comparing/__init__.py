"""One protocol for several priors on one backbone: what must be trained, training it, and what came of it."""

from priorkit.workflows.comparing.compare import compare_priors, compare_runs
from priorkit.workflows.comparing.plan import Request

__all__ = ["Request", "compare_priors", "compare_runs"]
