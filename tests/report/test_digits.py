"""Values are rounded to the digits that their spread allows."""

import pytest

from priorkit.report.digits import to_spread


@pytest.mark.parametrize(
    ("value", "spread", "told"),
    [
        (28.94, 3.21, "29"),
        (8.536, 1.65, "8.5"),
        (7.638, 1.58, "7.6"),
        (0.9579, 0.0437, "0.96"),
        (-553.6, 16.4, "-554"),
        (0.02447, 0.000627, "0.0245"),
        (4821.4, 320.0, "4,821"),
        (0.2, 0.1, "0.20"),
        (0.12345, None, "0.123"),
        (0.12345, 0.0, "0.123"),
        (0.12345, float("nan"), "0.123"),
        (0.12345, 1e-9, "0.123"),
        (12345.6, None, "12,346"),
    ],
)
def test_digits(value, spread, told):
    assert to_spread(value, spread) == told
