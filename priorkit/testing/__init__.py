"""The conformance checks: the requirements for plugins of each kind, for use in a package's tests.

A test file of three lines runs them all, each as a separate test:

    @pytest.mark.parametrize("check", checks("prior"), ids=str)
    def test_conformance(check):
        check(MyPrior)

They use small problems and take seconds; `priorkit plugins check NAME` runs the same checks.
"""

from priorkit.testing.body import NotApplicable
from priorkit.testing.check import Check, Result, checks, run_checks

__all__ = ["Check", "NotApplicable", "Result", "checks", "run_checks"]
