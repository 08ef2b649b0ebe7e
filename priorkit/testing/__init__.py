"""The conformance kit: what every plugin of a kind must do, as checks that a package's own tests run.

A test file of two lines runs them all, and each shows up under its own name:

    @pytest.mark.parametrize("check", checks("prior"), ids=str)
    def test_conformance(check):
        check(MyPrior)

Problems are small and take seconds; `priorkit plugins check NAME` runs the same checks.
"""

from priorkit.testing.body import NotApplicable
from priorkit.testing.check import Check, Result, checks, run_checks

__all__ = ["Check", "NotApplicable", "Result", "checks", "run_checks"]
