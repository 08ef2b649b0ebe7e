"""Comparison of several priors on one backbone: which runs are needed, their training, and the results."""

from priorkit.workflows.comparing.compare import compare_priors, compare_runs
from priorkit.workflows.comparing.plan import Request

__all__ = ["Request", "compare_priors", "compare_runs"]
