"""`plan.py`: its formulas hold on the smallest preset, and large cases are predicted without being built."""

import pytest
from plan import parser, run
from plan_checks import checks
from plan_formulas import Local, rows_bytes, state_bytes


def test_formulas_hold_where_they_can_be_tried():
    found = {what: measured / formula for what, formula, measured in checks("digits", ["multistage", "jointebm"])}
    moved = found.pop("multistage: bytes moved in a step, at least")
    assert moved >= 1
    assert found == pytest.approx(dict.fromkeys(found, 1.0), abs=0.05)
    assert len(found) == 14


def test_formulas_by_hand():
    assert rows_bytes(10, 3) == 120
    assert rows_bytes(10, 3, with_z=True) == 240
    assert state_bytes(7) == 7 * 4 * 5
    one = Local(((1, 1, 1),), channels=2, depth=1)
    assert (one.forward, one.parameters) == (2 * (9 * 2 * 3 + 4), 9 * 2 * 3 + 4 + 2 + 5)


def test_a_case_is_predicted_without_being_built():
    case = "ImageNet, autoencoderkl"
    report = run(parser().parse_args(["--presets", "--cases", case, "--priors", "multistage"]))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in report.splitlines() if f"| {case} |" in line]
    assert [len(row) for row in rows] == [10, 11]
    assert rows[0][:6] == [case, "1,281,167", "1", "4,096", "19.5", "0"]
    assert rows[1][1] == "multistage"
    assert float(rows[1][2]) == pytest.approx(Local(((4, 32, 32),), channels=32, depth=2).parameters / 1e6, rel=0.01)
