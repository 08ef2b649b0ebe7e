"""`scale.py` on tiny networks: a row for each piece of work, with the ratio of its rates."""

import pytest
import scale


def test_the_table_has_the_ratio_of_the_rates():
    report = scale.run(scale.parser().parse_args(["--quick", "--rounds", "1", "--priors", "multistage"]))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in report.splitlines() if "multistage, " in line]
    assert [row[0] for row in rows] == ["multistage, a step of 64", "multistage, the pool"]
    for row in rows:
        alone, together = (float(rate.replace(",", "")) for rate in row[2:4])
        assert min(alone, together) > 0
        assert float(row[4]) == pytest.approx(together / alone, abs=0.011, rel=0.02)
