"""Budgets: what is read, and steps from two pilots."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from priorkit.errors import UsageError
from priorkit.workflows.comparing.budget import Budget, longer_pilot, steps_within


def test_budgets_are_read():
    assert Budget.read("steps:9000") == Budget("steps", 9000)
    assert Budget.read("seconds:2.5") == Budget("seconds", 2.5)
    assert str(Budget.read("seconds:60")) == "seconds:60"


@pytest.mark.parametrize("text", ["", "9000", "steps:", "steps:0", "steps:1.5", "steps:x", "seconds:-1", "seconds:nan"])
def test_other_budgets_are_refused(text):
    with pytest.raises(UsageError, match="steps:N or seconds:S"):
        Budget.read(text)


@given(before=st.floats(0, 50), step=st.floats(1e-3, 1), wanted=st.integers(2, 10_000))
def test_a_linear_clock_is_inverted(before, step, wanted):
    def seconds(n):
        return before + step * n

    # Half a step more than needed, so that rounding of the pilots cannot matter.
    found = steps_within(seconds(wanted + 0.5), ((100, seconds(100)), (400, seconds(400))))
    assert abs(found - wanted) <= 1


def test_pilots_that_tell_no_steps_apart_count_everything_as_steps():
    assert steps_within(10.0, ((100, 2.0), (400, 1.6))) == 2500


def test_a_budget_that_ends_before_the_first_step_is_refused():
    with pytest.raises(UsageError, match="Use more seconds"):
        steps_within(1.0, ((100, 6.0), (400, 9.0)))


def test_a_third_pilot_takes_a_third_of_the_budget():
    """Of 60 seconds, 3 before the first step and 5 ms per step: 20 seconds are 3,400 steps."""
    assert longer_pilot(60.0, ((100, 3.5), (400, 5.0))) == 3_400
    assert longer_pilot(6.0, ((100, 0.5), (400, 2.0))) is None  # 400 steps, as the second pilot
    assert longer_pilot(6.0, ((100, 2.5), (400, 4.0))) is None  # no time for a step


def test_pilots_of_equal_time_are_followed_by_one_of_many_steps():
    assert longer_pilot(60.0, ((100, 17.5), (400, 16.6))) == 4_000
