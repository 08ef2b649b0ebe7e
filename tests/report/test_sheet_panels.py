"""Sheets fill their figure whatever their number of rows."""

import pytest
import torch

from priorkit.report.pictures import PANEL, panels


@pytest.mark.parametrize(("count", "columns", "ratio"), [(16, 4, 1.0), (24, 8, 3 / 8), (6, 2, 3 / 2)])
def test_the_height_is_that_of_the_sheet(count, columns, ratio):
    width, height = panels({"a": torch.zeros(count, 1, 8, 8), "b": torch.zeros(4, 1, 8, 8)}, columns).get_size_inches()
    assert width == 2 * PANEL
    # The tallest sheet decides; the second one has 4 / columns rows.  A title's line is 0.3 inches.
    assert height == pytest.approx(PANEL * max(ratio, -(-4 // columns) / columns) + 0.3)


def test_points_have_square_panels():
    assert panels({"points": torch.randn(5, 2)}).get_size_inches() == pytest.approx((PANEL, PANEL + 0.3))
